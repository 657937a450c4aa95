// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// TestDetached holds the life of a service: it runs in the background, is looked at and into, stopped, started again.
func TestDetached(t *testing.T) {
	leavesNothing(t)
	id := start(t, image("busybox"), "sh", "-c", "trap 'echo bye; exit 0' TERM; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.1; done")
	follow := onTerminal(t, "docker", "logs", "-f", id)
	eventually(t, "logs -f", follow.shows("line 3"))
	eventually(t, "logs", printed(t, "line 1\n", "docker", "logs", id))
	if out := docker(t, "ps", "--format", "{{.Names}} {{.State}}"); !strings.Contains(out, id+" running") {
		t.Errorf("ps: %q", out)
	}
	docker(t, "stop", id)
	follow.exits(t, 0)
	if err := follow.shows("bye")(); err != nil {
		t.Error(err)
	}
	docker(t, "start", id)
	eventually(t, "started again", printed(t, "running", "docker", "inspect", "-f", "{{.State.Status}}", id))
	docker(t, "restart", "-t", "1", id)
	eventually(t, "restarted", printed(t, "running", "docker", "inspect", "-f", "{{.State.Status}}", id))
}

// TestAttach holds that a client can come to a running container, and leave it running.
func TestAttach(t *testing.T) {
	leavesNothing(t)
	id := start(t, "-it", image("busybox"), "sh")
	term := onTerminal(t, "docker", "attach", id)
	term.types(t, "echo said-$((40+2))\n")
	eventually(t, "attached", term.shows("said-42"))
	term.types(t, "\x10\x11")
	eventually(t, "detached", term.shows("read escape sequence"))
	term.exits(t, 1)
	if state := docker(t, "inspect", "-f", "{{.State.Status}}", id); state != "running" {
		t.Errorf("after detaching it is %s", state)
	}
}

// TestPause holds that a paused container does nothing, says so, and goes on.
func TestPause(t *testing.T) {
	leavesNothing(t)
	id := start(t, image("busybox"), "sh", "-c", "while :; do echo tick; sleep 0.02; done")
	eventually(t, "ticks", printed(t, "tick", "docker", "logs", id))
	docker(t, "pause", id)
	if state := docker(t, "inspect", "-f", "{{.State.Status}}", id); state != "paused" {
		t.Errorf("it is %s", state)
	}
	count := func() int { return strings.Count(docker(t, "logs", id), "tick") }
	// What was on its way arrives; then nothing more does.
	eventually(t, "quiet", func() error {
		before := count()
		docker(t, "run", "--rm", "--network", "none", image("busybox"), "sleep", "0.2")
		if after := count(); after != before {
			return fmt.Errorf("%d lines after %d", after, before)
		}
		return nil
	})
	still := count()
	docker(t, "unpause", id)
	eventually(t, "goes on", func() error {
		if now := count(); now <= still {
			return fmt.Errorf("still %d lines", now)
		}
		return nil
	})
}

// TestTop holds that a container's processes, and only they, are listed.
func TestTop(t *testing.T) {
	leavesNothing(t)
	id := start(t, image("busybox"), "sh", "-c", "sleep 4321 & sleep 8765 & wait")
	eventually(t, "top", func() error {
		out := docker(t, "top", id, "-o", "pid,args")
		if strings.Count(out, "sleep ") < 2 || !strings.Contains(out, "sleep 4321") || !strings.Contains(out, "sleep 8765") {
			return fmt.Errorf("top: %q", out)
		}
		if strings.Contains(out, "containerd") || strings.Contains(out, "offload") {
			return fmt.Errorf("top shows more than the container: %q", out)
		}
		return nil
	})
}

// TestUpdate holds that limits given later apply.
func TestUpdate(t *testing.T) {
	leavesNothing(t)
	id := start(t, "-m", "64m", image("busybox"), "sleep", "1000")
	limit := "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"
	if out := docker(t, "exec", id, "sh", "-c", limit); out != strconv.Itoa(64<<20) {
		t.Errorf("limit %s at first", out)
	}
	docker(t, "update", "-m", "96m", "--memory-swap", "96m", id)
	if out := docker(t, "exec", id, "sh", "-c", limit); out != strconv.Itoa(96<<20) {
		t.Errorf("limit %s after the update", out)
	}
}

// TestStats holds that a container's own use is measured.
func TestStats(t *testing.T) {
	leavesNothing(t)
	id := start(t, "-m", "64m", image("busybox"), "sh", "-c", "dd if=/dev/zero of=/dev/shm/held bs=1M count=8 2>/dev/null; sleep 1000")
	eventually(t, "stats", func() error {
		out := docker(t, "stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", id)
		if !strings.Contains(out, "/ 64MiB") || strings.HasPrefix(out, "0B") || strings.HasPrefix(out, "--") {
			return fmt.Errorf("stats: %q", out)
		}
		return nil
	})
}

// TestCtrTask holds the task commands that ctr has and docker hides.
func TestCtrTask(t *testing.T) {
	leavesNothing(t)
	const id = "ctr-task"
	must(t, ctrRun("-d", image("busybox"), id, "sleep", "1000")...)

	if out := must(t, "ctr", "tasks", "ls"); !strings.Contains(out, id) || !strings.Contains(out, "RUNNING") {
		t.Errorf("tasks ls: %q", out)
	}
	if out := must(t, "ctr", "tasks", "exec", "--exec-id", "one", id, "echo", "inside"); out != "inside" {
		t.Errorf("exec: %q", out)
	}
	must(t, "ctr", "tasks", "pause", id)
	if out := must(t, "ctr", "tasks", "ls"); !strings.Contains(out, "PAUSED") {
		t.Errorf("tasks ls: %q", out)
	}
	must(t, "ctr", "tasks", "resume", id)
	if out := must(t, "ctr", "tasks", "metrics", id); !strings.Contains(out, id) {
		t.Errorf("metrics: %q", out)
	}
	must(t, "ctr", "tasks", "kill", "-s", "KILL", id)
	eventually(t, "stopped", printed(t, "STOPPED", "ctr", "tasks", "ls"))
	if r := try(t, "ctr", "tasks", "rm", id); r.code != 0 && r.code != 137 {
		t.Errorf("tasks rm: exit status %d: %s", r.code, r.all())
	}
	must(t, "ctr", "containers", "rm", id)
}
