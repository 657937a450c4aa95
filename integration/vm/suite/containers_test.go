// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-offload/offload/integration/vm"
)

// busybox is the image of most tests, as the registry has it.
const busybox = vm.RegistryAddress + "/busybox:latest"

// TestTCP and TestVsock run the same tests over each kind of link. The machines start with TCP.
func TestTCP(t *testing.T) { containers(t, 128) }

func TestVsock(t *testing.T) {
	switchTo(t, vm.Vsock)
	// Many times what the vsock device holds before it must have an answer, and what the link keeps to send again.
	containers(t, 1024)
	if pair.Relay != nil && pair.Relay.Open() == 0 {
		t.Error("nothing went over vsock")
	}
}

// switchTo changes the kind of link, and back when the test ends.
func switchTo(t *testing.T, link vm.Link) {
	t.Helper()
	if err := pair.Switch(t.Context(), link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pair.Switch(context.WithoutCancel(t.Context()), vm.TCP); err != nil {
			t.Error(err)
		}
	})
}

// containers holds what a user does with containers. bulk is how much goes one way at a time, in MiB.
func containers(t *testing.T, bulk int) {
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"Pull", testPull},
		{"Load", testLoad},
		{"Run", testRun},
		{"Detached", testDetached},
		{"Place", testPlace},
		{"Output", testOutput},
		{"Bind", testBind},
		{"Copy", testCopy},
		{"Bulk", func(t *testing.T) { testBulk(t, bulk) }},
	} {
		ok := t.Run(test.name, func(t *testing.T) {
			leavesNothing(t)
			test.run(t)
		})
		if !ok {
			t.Logf("HOST:\n%s\nDPU:\n%s", pair.Host.Journal(t.Context()), pair.DPU.Journal(t.Context()))
		}
	}
}

// testPull holds that an image is pulled, and that its content is on the HOST.
func testPull(t *testing.T) {
	run(t, pair.DPU, "docker", "rmi", "-f", busybox)
	docker(t, "pull", "-q", busybox)
	if found := shell(t, pair.Host, "find /var/lib/offload -name busybox -type f | head -n 1"); found == "" {
		t.Error("no busybox in the HOST's snapshots")
	}
	if found := shell(t, pair.DPU, "find /var/lib/containerd /var/lib/docker -name busybox -type f | head -n 1"); found != "" {
		t.Errorf("the DPU has unpacked %s", found)
	}
}

// testLoad holds that an archive is loaded and runs.
func testLoad(t *testing.T) {
	const image = "busybox:latest"
	run(t, pair.DPU, "docker", "rmi", "-f", image)
	docker(t, "load", "-q", "-i", "/root/images/busybox.tar")
	if out := docker(t, "run", "--rm", image, "echo", "loaded"); out != "loaded" {
		t.Errorf("%q", out)
	}
}

// testRun holds that streams and exit statuses are the container's.
func testRun(t *testing.T) {
	r := run(t, pair.DPU, "sh", "-c", "echo hello | docker run --rm -i "+busybox+` sh -c 'cat; echo "err" >&2; exit 7'`)
	if want := (vm.Result{Out: "hello\n", Err: "err\n", Code: 7}); r != want {
		t.Errorf("%+v, want %+v", r, want)
	}
	for command, want := range map[string]int{"true": 0, "false": 1, "sh -c 'kill -9 $$'; exit $?": 137, "exit 255": 255} {
		if r := run(t, pair.DPU, "docker", "run", "--rm", "--network", "none", busybox, "sh", "-c", command); r.Code != want {
			t.Errorf("%s: exit status %d, want %d: %s", command, r.Code, want, r.All())
		}
	}
	if r := run(t, pair.DPU, "docker", "run", "--rm", "--network", "none", busybox, "/nowhere"); r.Code != 127 || !strings.Contains(r.Err, "/nowhere") {
		t.Errorf("a program that is not there: %+v", r)
	}
}

// testDetached holds what is done with a container that runs in the background.
func testDetached(t *testing.T) {
	name := start(t, busybox, "sh", "-c", `trap 'echo bye; exit 3' TERM; echo begun; while :; do sleep 0.1; done`)
	logs := func(want string) {
		t.Helper()
		eventually(t, "logs", time.Minute, func() error {
			if got := docker(t, "logs", name); got != want {
				return fmt.Errorf("%q, want %q", got, want)
			}
			return nil
		})
	}
	logs("begun")
	if out := docker(t, "exec", name, "sh", "-c", "echo $((6*7))"); out != "42" {
		t.Errorf("exec: %q", out)
	}
	if r := run(t, pair.DPU, "docker", "exec", name, "sh", "-c", "exit 9"); r.Code != 9 {
		t.Errorf("exec: exit status %d, want 9", r.Code)
	}
	docker(t, "stop", "-t", "60", name)
	if got := docker(t, "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name); got != "exited 3" {
		t.Errorf("stopped: %q", got)
	}
	logs("begun\nbye")
}

// testPlace holds that a container's processes are on the HOST and not on the DPU, and see the HOST's kernel.
func testPlace(t *testing.T) {
	name := start(t, busybox, "sleep", "1234")
	if got, want := docker(t, "exec", name, "uname", "-r"), must(t, pair.Host, "uname", "-r"); got != want {
		t.Errorf("the container's kernel is %s, the HOST's %s", got, want)
	}
	const count = "grep -lax sleep /proc/[0-9]*/comm 2>/dev/null | wc -l"
	if got := shell(t, pair.Host, count); got != "1" {
		t.Errorf("%s such processes on the HOST", got)
	}
	if got := shell(t, pair.DPU, count); got != "0" {
		t.Errorf("%s such processes on the DPU", got)
	}
}

// testOutput holds that 16 MiB come out of a container unchanged.
func testOutput(t *testing.T) {
	const size = 16
	r := run(t, pair.DPU, "sh", "-c", "docker run --rm --network none "+busybox+
		fmt.Sprintf(" sh -c 'dd if=/dev/urandom of=/f bs=1M count=%d 2>/dev/null; sha256sum </f >&2; cat /f' | sha256sum", size))
	if r.Code != 0 || r.Out == "" || r.Out != r.Err {
		t.Errorf("received %q, sent %q", r.Out, r.Err)
	}
}

// testBind holds that a directory of the DPU is the same one in a container.
func testBind(t *testing.T) {
	shell(t, pair.DPU, "rm -rf /srv/bind && mkdir -p /srv/bind/in && echo theirs >/srv/bind/in/file && ln -s in/file /srv/bind/link")
	defer run(t, pair.DPU, "rm", "-rf", "/srv/bind")
	if out := docker(t, "run", "--rm", "--network", "none", "-v", "/srv/bind:/b", busybox, "sh", "-c",
		"cat /b/link; echo ours >/b/new; mkdir /b/d; mv /b/new /b/d/moved"); out != "theirs" {
		t.Errorf("the container reads %q", out)
	}
	if got := must(t, pair.DPU, "cat", "/srv/bind/d/moved"); got != "ours" {
		t.Errorf("the DPU reads %q", got)
	}
	if r := run(t, pair.DPU, "docker", "run", "--rm", "--network", "none", "-v", "/srv/bind:/b:ro", busybox, "touch", "/b/no"); r.Code == 0 ||
		!strings.Contains(r.Err, "Read-only file system") {
		t.Errorf("writing to a read-only directory: %+v", r)
	}
}

// testCopy holds that docker cp works in both directions, with content, modes and links.
func testCopy(t *testing.T) {
	name := start(t, busybox, "sleep", "1234")
	shell(t, pair.DPU, `rm -rf /srv/cp && mkdir -p /srv/cp/tree && cd /srv/cp/tree &&
		head -c 3000000 /dev/urandom >blob && chmod 640 blob && ln -s blob link`)
	defer run(t, pair.DPU, "rm", "-rf", "/srv/cp")
	docker(t, "cp", "/srv/cp/tree", name+":/tree")
	docker(t, "cp", name+":/tree", "/srv/cp/back")
	const listing = "cd /srv/cp/%s && stat -c '%%n %%F %%a %%s' * && readlink link && sha256sum blob"
	if there, back := shell(t, pair.DPU, fmt.Sprintf(listing, "tree")), shell(t, pair.DPU, fmt.Sprintf(listing, "back")); there != back {
		t.Errorf("copied\n%s\ncame back as\n%s", there, back)
	}
	if got := docker(t, "exec", name, "sha256sum", "/tree/blob"); !strings.HasPrefix(got, shell(t, pair.DPU, "sha256sum /srv/cp/tree/blob | cut -d ' ' -f 1")) {
		t.Errorf("the container has %s", got)
	}
}

// bulkPatience is how long it may take one way, emulated, on a machine that has other things to do.
const bulkPatience = 20 * time.Minute

// testBulk holds that a lot goes through in one direction, and then in the other, unchanged.
func testBulk(t *testing.T, mib int) {
	name := start(t, busybox, "sleep", "1234")
	// A block at random, and its number before each repetition of it, so that no two parts are alike.
	generate := fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo $i; cat %%s; i=$((i+1)); done", mib)
	docker(t, "exec", name, "sh", "-c", "head -c 1048576 /dev/urandom >/block")
	docker(t, "cp", name+":/block", "/root/block")
	local := fmt.Sprintf(generate, "/root/block")
	want := long(t, pair.DPU, "{ "+local+"; } | md5sum")
	begin := time.Now()
	if got := long(t, pair.DPU, "docker exec "+name+" sh -c '"+fmt.Sprintf(generate, "/block")+"' | md5sum"); got != want {
		t.Errorf("HOST to DPU: %s, want %s", got, want)
	}
	t.Logf("%d MiB from the HOST to the DPU in %v", mib, time.Since(begin).Round(time.Second))
	begin = time.Now()
	if got := long(t, pair.DPU, "{ "+local+"; } | docker exec -i "+name+" md5sum"); got != want {
		t.Errorf("DPU to HOST: %s, want %s", got, want)
	}
	t.Logf("%d MiB from the DPU to the HOST in %v", mib, time.Since(begin).Round(time.Second))
}

// long runs a script that moves a lot and has to succeed.
func long(t *testing.T, m *vm.Machine, script string) string {
	t.Helper()
	return within(t, bulkPatience, m, "sh", "-c", script)
}

// imagesDir has the image layouts that the registry serves.
func imagesDir(build string) string { return filepath.Join(build, "images") }
