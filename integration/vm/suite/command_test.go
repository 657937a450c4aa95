// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-offload/offload/integration/vm"
)

// patience is how long a command may take that has no reason to take long, on emulated machines that share a busy
// one. Nothing may ever hang.
const patience = 5 * time.Minute

// run runs a command that must end, and returns whatever comes of it.
func run(t *testing.T, m *vm.Machine, argv ...string) vm.Result {
	t.Helper()
	return try(t, patience, m, argv...)
}

// try runs a command that must end within the time, and returns whatever comes of it.
func try(t *testing.T, limit time.Duration, m *vm.Machine, argv ...string) vm.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
	defer cancel()
	r, err := m.Try(ctx, argv...)
	if err != nil {
		t.Fatalf("%s: no end within %v: %v", strings.Join(argv, " "), limit, err)
	}
	return r
}

// must runs a command that has to succeed, and returns its standard output without the last end of line.
func must(t *testing.T, m *vm.Machine, argv ...string) string {
	t.Helper()
	return within(t, patience, m, argv...)
}

// within is must with a time of its own.
func within(t *testing.T, limit time.Duration, m *vm.Machine, argv ...string) string {
	t.Helper()
	r := try(t, limit, m, argv...)
	if r.Code != 0 {
		t.Fatalf("%s: exit status %d\n%s", strings.Join(argv, " "), r.Code, r.All())
	}
	return strings.TrimSuffix(r.Out, "\n")
}

// docker runs a docker command on the DPU that has to succeed.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	return must(t, pair.DPU, append([]string{"docker"}, args...)...)
}

// shell runs a script that has to succeed.
func shell(t *testing.T, m *vm.Machine, script string) string {
	t.Helper()
	return must(t, m, "sh", "-c", script)
}

// start runs a container in the background, without a network, which is what takes dockerd longest, and which is removed when the test ends, and returns its name.
func start(t *testing.T, args ...string) string {
	t.Helper()
	name := strings.ReplaceAll(strings.ReplaceAll(t.Name(), "/", "-"), "_", "-")
	t.Cleanup(func() { run(t, pair.DPU, "docker", "rm", "-f", "-v", name) })
	docker(t, append([]string{"run", "-d", "--network", "none", "--name", name}, args...)...)
	return name
}

// eventually waits for what the system does by itself a while later.
func eventually(t *testing.T, what string, patience time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s, after %v: %v", what, patience, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// left is a script that lists what containers leave behind if they leave anything, a line for each.
const left = `
for p in /proc/[0-9]*; do
	line=$(tr '\0' ' ' <$p/cmdline 2>/dev/null) || continue
	case "$line" in
	*containerd-shim-offload-v1*|*runc*|*offload-shadow*|*sleep\ 1234*) echo "process $line" ;;
	esac
done
awk '{print "mount " $5}' /proc/self/mountinfo | grep -E '/run/offload/(tree|shims)/|/var/lib/docker/rootfs/' | sort
ls -d /run/offload/shims/*/* /run/docker/netns/* /sys/fs/cgroup/docker/*/ /sys/fs/cgroup/system.slice/docker-*/ 2>/dev/null | sed 's/^/path /'
ip -o link | awk -F ': ' '{print "interface " $2}' | sed 's/@.*//' | grep -E 'veth|ofl|vxlan'
true`

// leavesNothing makes the test fail if, on either side, containers have left something at its end that was not there
// at its begin.
func leavesNothing(t *testing.T) {
	t.Helper()
	before := map[*vm.Machine][]string{}
	for _, m := range []*vm.Machine{pair.Host, pair.DPU} {
		before[m] = strings.Split(shell(t, m, left), "\n")
	}
	t.Cleanup(func() {
		for m, old := range before {
			eventually(t, "nothing is left behind", time.Minute, func() error {
				now := slices.DeleteFunc(strings.Split(shell(t, m, left), "\n"), func(line string) bool {
					return slices.Contains(old, line)
				})
				if len(now) > 0 {
					return fmt.Errorf("on %s:\n  %s", m.Name(), strings.Join(now, "\n  "))
				}
				return nil
			})
		}
	})
}
