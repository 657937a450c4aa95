// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/container-offload/offload/integration/lab"
)

// commands lists the command lines of all processes that an environment sees.
func commands(t *testing.T, env *lab.Env) []string {
	t.Helper()
	r := tryIn(t, env, "", "ps", "-e", "-ww", "-o", "args=")
	if r.code != 0 {
		t.Fatalf("ps on %s: %s", env.Name(), r.all())
	}
	return strings.Split(strings.TrimSpace(r.stdout), "\n")
}

// count counts the command lines that have the text.
func count(lines []string, text string) int {
	n := 0
	for _, line := range lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// TestPlaces holds what this is all for: a container's processes are on the HOST, its daemons are not, and the DPU
// has nothing of it but a process that stands for it.
func TestPlaces(t *testing.T) {
	offloadOnly(t)
	leavesNothing(t)
	const mark = "sleep 86421"
	id := start(t, image("busybox"), "sh", "-c", mark+" & wait")
	t.Run("its processes are on the host", func(t *testing.T) {
		eventually(t, "seen on the host", func() error {
			// The shell and its child.
			if n := count(commands(t, shared.Host), mark); n != 2 {
				return fmt.Errorf("%d processes", n)
			}
			return nil
		})
	})
	t.Run("its processes are not on the dpu", func(t *testing.T) {
		for _, line := range commands(t, shared.DPU) {
			if strings.Contains(line, mark) {
				t.Errorf("the DPU runs %q", line)
			}
		}
	})
	t.Run("its daemons are not on the host", func(t *testing.T) {
		banned := []string{"containerd", "dockerd", "docker", "ctr", "docker-proxy", "containerd-shim-runc-v2"}
		for _, line := range commands(t, shared.Host) {
			program := filepath.Base(strings.Fields(line)[0])
			if slices.Contains(banned, program) {
				t.Errorf("the HOST runs %q", line)
			}
		}
		for _, program := range banned {
			if r := tryIn(t, shared.Host, "", "sh", "-c", "command -v "+program); r.code == 0 {
				t.Errorf("the HOST has %s", r.stdout)
			}
		}
	})
	t.Run("its shadow is on the dpu", func(t *testing.T) {
		pid := docker(t, "inspect", "-f", "{{.State.Pid}}", id)
		own, shadows := must(t, "readlink", "/proc/self/ns/net"), must(t, "readlink", "/proc/"+pid+"/ns/net")
		if own == shadows {
			t.Errorf("process %s is in the DPU's own network namespace", pid)
		}
		for _, line := range strings.Split(must(t, "cat", "/proc/"+pid+"/status"), "\n") {
			if size, found := strings.CutPrefix(line, "VmRSS:"); found && len(strings.TrimSpace(size)) > len("999 kB") {
				t.Errorf("the shadow takes %s", strings.TrimSpace(size))
			}
		}
	})
	t.Run("its files are on the host", func(t *testing.T) {
		docker(t, "exec", id, "sh", "-c", "echo here > /mark-86421")
		if r := tryIn(t, shared.Host, "", "sh", "-c", "find /var/lib/offload -name mark-86421 | wc -l"); strings.TrimSpace(r.stdout) != "1" {
			t.Errorf("found %s times in the HOST's store", strings.TrimSpace(r.stdout))
		}
		if out := must(t, "sh", "-c", "find /var/lib/docker /var/lib/containerd -xdev -name mark-86421"); out != "" {
			t.Errorf("on the DPU's disk: %s", out)
		}
	})
}

// TestPod holds that containers of one pod share one shim, and that the pod's end is that of its last container.
func TestPod(t *testing.T) {
	leavesNothing(t)
	shims := func() int {
		n := count(commands(t, shared.DPU), "-namespace default -id ")
		return n
	}
	before := shims()
	members := []string{"pod-first", "pod-second", "pod-third"}
	for i, id := range members {
		t.Cleanup(func() { removeCtr(t, id) })
		must(t, ctrRun("-d", "--annotation", "io.containerd.runc.v2.group=pod-first", image("busybox"), id,
			"sh", "-c", fmt.Sprintf("trap 'exit %d' TERM; while :; do sleep 0.05; done", 10+i))...)
	}
	if n := shims() - before; n != 1 {
		t.Errorf("%d shims for one pod", n)
	}
	for _, id := range members {
		if out := must(t, "ctr", "tasks", "exec", "--exec-id", "in-"+id, id, "echo", "in", id); out != "in "+id {
			t.Errorf("exec in %s: %q", id, out)
		}
	}
	// The first to come is the first to go, and the others stay.
	must(t, "ctr", "tasks", "kill", "-s", "KILL", members[0])
	eventually(t, "the first has ended", func() error {
		if out := must(t, "ctr", "tasks", "ls"); !strings.Contains(lineOf(out, members[0]), "STOPPED") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	try(t, "ctr", "tasks", "rm", members[0])
	if out := must(t, "ctr", "tasks", "exec", "--exec-id", "after", members[2], "echo", "goes on"); out != "goes on" {
		t.Errorf("after the first has gone: %q", out)
	}
}

// lineOf is the first line that starts with the word.
func lineOf(text, word string) string {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == word {
			return line
		}
	}
	return ""
}
