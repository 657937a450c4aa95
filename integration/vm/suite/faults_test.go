// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/container-offload/offload/integration/vm"
)

// counter is a container whose output shows whether it went on, and whether all of that arrived.
const counter = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done"

// recovery is how long the system may take to be itself again by itself.
const recovery = 3 * time.Minute

// fault is something that goes wrong while a container runs.
type fault struct {
	name   string
	inject func(*testing.T)
	// ends is what is then known of the container, as {{.State.Status}} {{.State.ExitCode}}; "" if it runs on.
	ends string
}

// TestFaults injects one fault after the other. The system must come back by itself, containers must run on except
// where that can't be, no output may be lost or doubled, and nothing may be left.
func TestFaults(t *testing.T) {
	kill := func(m *vm.Machine, process string) func(*testing.T) {
		return func(t *testing.T) {
			shell(t, m, fmt.Sprintf("pids=$(pgrep -f '^([^ ]*/)?%s( |$)'); kill -9 $pids", process))
		}
	}
	for _, f := range []fault{
		{name: "kill offload-dpu", inject: kill(pair.DPU, "offload-dpu")},
		{name: "kill offload-host", inject: kill(pair.Host, "offload-host")},
		{name: "kill containerd", inject: kill(pair.DPU, "containerd")},
		{name: "kill dockerd", inject: kill(pair.DPU, "dockerd")},
		{name: "kill containerd-shim-offload-v1", inject: kill(pair.DPU, "containerd-shim-offload-v1"), ends: "exited 137"},
		{name: "kill containerd-shim-offload-host", inject: killShim, ends: "exited 137"},
		{name: "kill the container", inject: killContainer, ends: "exited 137"},
		{name: "cut 10 s", inject: func(t *testing.T) { cut(t, 10*time.Second) }},
		{name: "cut 60 s", inject: func(t *testing.T) { cut(t, time.Minute) }},
		{name: "unplugged 10 s", inject: func(t *testing.T) { unplug(t, 10*time.Second) }},
	} {
		t.Run(f.name, func(t *testing.T) { survive(t, f) })
	}
	t.Run("reboot of the HOST", hostReboot)
}

// TestFaultsVsock cuts the other kind of link.
func TestFaultsVsock(t *testing.T) {
	if pair.Relay == nil {
		t.Fatal("the machines that are up are another process's, and so is the relay that would have to be cut")
	}
	switchTo(t, vm.Vsock)
	for _, long := range []time.Duration{10 * time.Second, time.Minute} {
		f := fault{name: "cut " + long.String(), inject: func(t *testing.T) {
			pair.Relay.Cut()
			defer pair.Relay.Mend()
			wait(t, long)
		}}
		t.Run(f.name, func(t *testing.T) { survive(t, f) })
	}
}

// survive injects one fault while a container counts.
func survive(t *testing.T, f fault) {
	leavesNothing(t)
	name := start(t, busybox, "sh", "-c", counter)
	eventually(t, "it counts", recovery, func() error { return counted(t, name, 5) })
	f.inject(t)
	begin := time.Now()
	if f.ends == "" {
		before := len(lines(t, name))
		eventually(t, "it counts on", recovery, func() error { return counted(t, name, before+5) })
		eventually(t, "exec", recovery, func() error {
			return outcome(run(t, pair.DPU, "docker", "exec", name, "echo", "there"), "there")
		})
	} else {
		eventually(t, "its end is known", recovery, func() error {
			return outcome(run(t, pair.DPU, "docker", "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name), f.ends)
		})
	}
	eventually(t, "another one runs", recovery, func() error {
		return outcome(run(t, pair.DPU, "docker", "run", "--rm", "--network", "none", busybox, "echo", "again"), "again")
	})
	t.Logf("%v until all was well", time.Since(begin).Round(100*time.Millisecond))
	if t.Failed() {
		t.Logf("HOST:\n%s\nDPU:\n%s", pair.Host.Journal(t.Context()), pair.DPU.Journal(t.Context()))
	}
}

// outcome compares what a command that should have succeeded printed.
func outcome(r vm.Result, want string) error {
	if got := strings.TrimSpace(r.Out); r.Code != 0 || got != want {
		return fmt.Errorf("exit status %d, %q, want %q: %s", r.Code, got, want, r.Err)
	}
	return nil
}

// lines are what the container has printed, or nothing while that can't be found out.
func lines(t *testing.T, name string) []string {
	t.Helper()
	r := run(t, pair.DPU, "docker", "logs", name)
	if r.Code != 0 {
		return nil
	}
	return strings.Fields(r.Out)
}

// counted holds that the container has counted so far and that no number is lacking, doubled or in the wrong place.
func counted(t *testing.T, name string, far int) error {
	t.Helper()
	got := lines(t, name)
	for i, line := range got {
		if line != strconv.Itoa(i) {
			t.Fatalf("line %d of the container is %q", i, line)
		}
	}
	if len(got) < far {
		return fmt.Errorf("counted to %d, not to %d", len(got), far)
	}
	return nil
}

// killContainer kills the container's own process, behind the system's back.
func killContainer(t *testing.T) {
	shell(t, pair.Host, "kill -9 $(pgrep -f '^sh -c i=0')")
}

// killShim kills the shim that serves a container and not those that wait for one.
func killShim(t *testing.T) {
	shell(t, pair.Host, `pid=$(pgrep -f '^sh -c i=0'); kill -9 $(awk '/^PPid:/ {print $2}' /proc/$pid/status)`)
}

// cut drops whatever comes over the link without a word, for as long as told.
func cut(t *testing.T, long time.Duration) {
	const rules = `table inet cut {
		chain in { type filter hook prerouting priority -300; iifname eth1 drop; }
		chain out { type filter hook postrouting priority 300; oifname eth1 drop; }
	}`
	shell(t, pair.Host, "echo '"+rules+"' | nft -f -")
	defer shell(t, pair.Host, "nft delete table inet cut")
	wait(t, long)
}

// unplug pulls the cable out.
func unplug(t *testing.T, long time.Duration) {
	if err := pair.Host.SetLink(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	wait(t, long)
	if err := pair.Host.SetLink(t.Context(), true); err != nil {
		t.Fatal(err)
	}
}

// wait lets the fault last.
func wait(t *testing.T, long time.Duration) {
	select {
	case <-time.After(long):
	case <-t.Context().Done():
	}
}

// hostReboot holds that containers are known to be dead when the HOST has been reset, that the error says so, and
// that a restart policy starts them again.
func hostReboot(t *testing.T) {
	plain := start(t, busybox, "sh", "-c", counter)
	kept := plain + "-always"
	t.Cleanup(func() { run(t, pair.DPU, "docker", "rm", "-f", kept) })
	docker(t, "run", "-d", "--restart", "always", "--network", "none", "--name", kept, busybox, "sh", "-c", counter)
	eventually(t, "it counts", recovery, func() error { return counted(t, plain, 5) })
	if err := pair.Host.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	eventually(t, "its end is known", recovery, func() error {
		return outcome(run(t, pair.DPU, "docker", "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", plain), "exited 137")
	})
	t.Logf("known after %v; error %q", time.Since(begin).Round(100*time.Millisecond),
		docker(t, "inspect", "-f", "{{.State.Error}}", plain))
	eventually(t, "another one runs", recovery, func() error {
		return outcome(run(t, pair.DPU, "docker", "run", "--rm", "--network", "none", busybox, "echo", "again"), "again")
	})
	eventually(t, "it was restarted", recovery, func() error {
		return outcome(run(t, pair.DPU, "docker", "exec", kept, "echo", "there"), "there")
	})
	docker(t, "start", plain)
}
