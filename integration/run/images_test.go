// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"os"
	"strings"
	"testing"

	"github.com/container-offload/offload/integration/lab"
)

// TestLayers holds that every kind of layer and of file in it arrives as it was packed.
func TestLayers(t *testing.T) {
	pull(t, "layers")
	leavesNothing(t)
	out := docker(t, "run", "--rm", image("layers"), "sh", "-c", `
		cd /odd
		stat -c '%n %u:%g %a' owned setuid
		[ linked -ef link ] && echo one inode
		stat -c '%n %F %t:%T' null fifo
		stat -c '%n %s' zeros
		[ -e removed ] || echo removed is gone
		ls opaque
		cat replaced 'name with spaces and ünïcode'
		ls | grep -c longlong
		echo through > null && echo null takes it`)
	want := `owned 1234:5678 640
setuid 0:0 4755
one inode
null character special file 1:3
fifo fifo 0:0
zeros 16777216
removed is gone
shown
a file where a directory was
named
1
null takes it`
	if out != want {
		t.Errorf("got\n%s\nnot\n%s", out, want)
	}
}

// pull pulls an image with docker before a test looks at what is there.
func pull(t *testing.T, name string) {
	t.Helper()
	docker(t, "pull", "-q", image(name))
}

// TestCapabilityAttribute holds that file capabilities survive, as a process that has them only by its file shows.
func TestCapabilityAttribute(t *testing.T) {
	pull(t, "layers")
	leavesNothing(t)
	id := start(t, image("layers"), "sleep", "1000")
	out := must(t, "sh", "-c", "docker export "+id+" | tar -x --xattrs --xattrs-include='*' -O odd/capable")
	if !strings.Contains(out, "echo capable") {
		t.Errorf("%q", out)
	}
}

// TestCompressions holds that layers of each compression unpack to the same content.
func TestCompressions(t *testing.T) {
	pull(t, "busybox-zstd")
	leavesNothing(t)
	const script = "find /bin /etc -type f -exec sha256sum {} + | grep -v -E '/etc/(hosts|hostname|resolv.conf)$' | sort"
	gzip := docker(t, "run", "--rm", image("busybox"), "sh", "-c", script)
	zstd := docker(t, "run", "--rm", image("busybox-zstd"), "sh", "-c", script)
	if gzip != zstd || !strings.Contains(gzip, "/bin/busybox") {
		t.Errorf("gzip:\n%s\nzstd:\n%s", gzip, zstd)
	}
}

// TestServer holds that a real server runs as its image says: user, directory, volume, port.
func TestServer(t *testing.T) {
	pull(t, "redis")
	leavesNothing(t)
	id := start(t, image("redis"))
	eventually(t, "ready", printed(t, "Ready to accept connections", "docker", "logs", id))
	if out := docker(t, "exec", id, "redis-cli", "set", "key", "value"); out != "OK" {
		t.Errorf("set: %q", out)
	}
	if out := docker(t, "exec", id, "redis-cli", "get", "key"); out != "value" {
		t.Errorf("get: %q", out)
	}
	if out := docker(t, "exec", id, "redis-cli", "save"); out != "OK" {
		t.Errorf("save: %q", out)
	}
	if out := docker(t, "exec", id, "stat", "-c", "%u", "/data/dump.rdb"); out != "999" {
		t.Errorf("owner %q", out)
	}
	docker(t, "stop", id)
	if out := docker(t, "logs", id); !strings.Contains(out, "Redis is now ready to exit, bye bye") {
		t.Errorf("it was not asked to stop: %q", out)
	}
}

// TestImport holds the other ways by which an image comes, and that removing it removes all of it.
func TestImport(t *testing.T) {
	build, err := lab.FindBuild()
	if err != nil {
		t.Fatal(err)
	}
	const archive = "/srv/image.tar"
	if err := shared.DPU.CopyIn(lab.Options{Build: build}.ImageArchive("layers"), archive); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, "rm", archive) })
	try(t, "docker", "image", "rm", "-f", image("layers"))
	leavesNothing(t)
	t.Run("ctr images import", func(t *testing.T) {
		args := []string{"ctr", "images", "import"}
		if lab.AskedKind() == lab.Offload {
			args = append(args, "--snapshotter", snapshotter())
		}
		must(t, append(args, archive)...)
		const ref = "docker.io/library/layers:latest"
		if out := must(t, ctrRun("--rm", "--snapshotter", snapshotter(), ref, "imported", "cat", "/odd/opaque/shown")...); out != "shown" {
			t.Errorf("%q", out)
		}
		must(t, "ctr", "images", "rm", "--sync", ref)
	})
	t.Run("docker load", func(t *testing.T) {
		docker(t, "load", "-q", "-i", archive)
		if out := docker(t, "run", "--rm", "layers", "cat", "/odd/opaque/shown"); out != "shown" {
			t.Errorf("%q", out)
		}
		docker(t, "image", "rm", "layers")
	})
}

// TestCorruptBlob holds that bytes which are not what their digest says are refused by name, and nothing is kept.
func TestCorruptBlob(t *testing.T) {
	try(t, "docker", "image", "rm", "-f", image("redis"))
	leavesNothing(t)
	shared.Registry.Corrupt("redis", true)
	t.Cleanup(func() { shared.Registry.Corrupt("redis", false) })
	for client, argv := range map[string][]string{
		"docker": {"docker", "pull", image("redis")},
		"ctr":    {"ctr", "image", "pull", "--plain-http", image("redis")},
	} {
		t.Run(client, func(t *testing.T) {
			r := try(t, argv...)
			if r.code == 0 {
				t.Fatal("the pull succeeded")
			}
			if !strings.Contains(r.all(), "sha256:") || !strings.Contains(r.all(), "digest") {
				t.Errorf("the error does not name the digest: %q", r.all())
			}
		})
	}
}

// TestWalk is here to keep the archive's name and the layout's in step.
func TestArchives(t *testing.T) {
	build, err := lab.FindBuild()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"busybox", "busybox-zstd", "redis", "layers"} {
		if info, err := os.Stat(lab.Options{Build: build}.ImageArchive(name)); err != nil || info.Size() < 1<<20 {
			t.Errorf("archive of %s: %v", name, err)
		}
	}
}
