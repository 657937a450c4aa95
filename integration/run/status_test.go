// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// TestExitStatus holds what a container's end is reported as, by both clients.
func TestExitStatus(t *testing.T) {
	leavesNothing(t)
	cases := []struct {
		name string
		argv []string
		code int
	}{
		{"zero", []string{"true"}, 0},
		{"seven", []string{"sh", "-c", "exit 7"}, 7},
		{"highest", []string{"sh", "-c", "exit 255"}, 255},
		{"killed", []string{"sh", "-c", "kill -9 $$"}, 137},
		{"terminated", []string{"sh", "-c", "trap 'exit 143' TERM; kill -TERM $$; exit 1"}, 143},
	}
	for _, c := range cases {
		t.Run("docker/"+c.name, func(t *testing.T) {
			r := try(t, append([]string{"docker", "run", "--rm", "--init", image("busybox")}, c.argv...)...)
			if r.code != c.code {
				t.Errorf("exit status %d, not %d: %s", r.code, c.code, r.all())
			}
		})
		t.Run("ctr/"+c.name, func(t *testing.T) {
			if c.name == "killed" || c.name == "terminated" {
				t.Skip("pid 1 is not killed by its own signals, and ctr has no --init")
			}
			r := try(t, append(ctrRun("--rm", image("busybox"), name(t)), c.argv...)...)
			if r.code != c.code {
				t.Errorf("exit status %d, not %d: %s", r.code, c.code, r.all())
			}
		})
	}
}

// TestCannotStart holds that a command which can't be run is told apart from one that failed.
func TestCannotStart(t *testing.T) {
	leavesNothing(t)
	for _, c := range []struct {
		name, program string
		code          int
		says          string
	}{
		{"missing", "/no/such/program", 127, "no such file or directory"},
		{"directory", "/etc", 126, "/etc"},
		{"not executable", "/etc/passwd", 126, "permission denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := try(t, "docker", "run", "--rm", image("busybox"), c.program)
			if r.code != c.code || !strings.Contains(r.all(), c.says) {
				t.Errorf("exit status %d, not %d, or no %q in %q", r.code, c.code, c.says, r.all())
			}
		})
	}
}

// TestOutOfMemory holds that a container over its limit is killed, and that its user is told why.
func TestOutOfMemory(t *testing.T) {
	leavesNothing(t)
	id := start(t, "-m", "16m", image("busybox"), "sh", "-c", "tail /dev/zero")
	if code := docker(t, "wait", id); code != "137" {
		t.Errorf("exit status %s, not 137", code)
	}
	eventually(t, "out of memory", printed(t, "true", "docker", "inspect", "-f", "{{.State.OOMKilled}}", id))
}

// TestKill holds that signals reach a container's first process and are what ends it.
func TestKill(t *testing.T) {
	leavesNothing(t)
	t.Run("KILL", func(t *testing.T) {
		id := start(t, image("busybox"), "sleep", "1000")
		docker(t, "kill", id)
		if code := docker(t, "wait", id); code != "137" {
			t.Errorf("exit status %s, not 137", code)
		}
	})
	t.Run("USR1", func(t *testing.T) {
		id := start(t, image("busybox"), "sh", "-c", "trap 'echo got USR1; exit 9' USR1; echo ready; while :; do sleep 0.05; done")
		eventually(t, "trap", printed(t, "ready", "docker", "logs", id))
		docker(t, "kill", "-s", "USR1", id)
		if code := docker(t, "wait", id); code != "9" {
			t.Errorf("exit status %s, not 9", code)
		}
		if out := docker(t, "logs", id); !strings.Contains(out, "got USR1") {
			t.Errorf("the trap did not run: %q", out)
		}
	})
	t.Run("stop", func(t *testing.T) {
		id := start(t, image("busybox"), "sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done")
		eventually(t, "trap", printed(t, "ready", "docker", "logs", id))
		docker(t, "stop", id)
		if code := docker(t, "inspect", "-f", "{{.State.ExitCode}}", id); code != "3" {
			t.Errorf("exit status %s, not 3", code)
		}
	})
	t.Run("stop after its time", func(t *testing.T) {
		id := start(t, image("busybox"), "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
		eventually(t, "trap", printed(t, "ready", "docker", "logs", id))
		docker(t, "stop", "-t", "1", id)
		if code := docker(t, "inspect", "-f", "{{.State.ExitCode}}", id); code != "137" {
			t.Errorf("exit status %s, not 137", code)
		}
	})
}

// TestExec holds what a second process in a container is given and how its end is reported.
func TestExec(t *testing.T) {
	leavesNothing(t)
	id := start(t, image("busybox"), "sleep", "1000")
	for _, c := range []struct {
		name string
		argv []string
		code int
		out  string
	}{
		{"zero", []string{id, "echo", "hello"}, 0, "hello\n"},
		{"three", []string{id, "sh", "-c", "exit 3"}, 3, ""},
		{"killed", []string{id, "sh", "-c", "kill -9 $$"}, 137, ""},
		{"user", []string{"-u", "1000", id, "id", "-u"}, 0, "1000\n"},
		{"directory", []string{"-w", "/etc", id, "pwd"}, 0, "/etc\n"},
		{"variable", []string{"-e", "WORD=said", id, "sh", "-c", "echo $WORD"}, 0, "said\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := try(t, append([]string{"docker", "exec"}, c.argv...)...)
			if r.code != c.code || r.stdout != c.out {
				t.Errorf("exit status %d and %q, not %d and %q: %s", r.code, r.stdout, c.code, c.out, r.stderr)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		if r := try(t, "docker", "exec", id, "/no/such/program"); r.code != 127 {
			t.Errorf("exit status %d, not 127: %s", r.code, r.all())
		}
	})
	t.Run("stdin", func(t *testing.T) {
		r := tryIn(t, shared.DPU, "through the pipe", "docker", "exec", "-i", id, "cat")
		if r.code != 0 || r.stdout != "through the pipe" {
			t.Errorf("exit status %d and %q: %s", r.code, r.stdout, r.stderr)
		}
	})
	t.Run("same namespaces", func(t *testing.T) {
		if out := docker(t, "exec", id, "cat", "/proc/1/cmdline"); out != "sleep\x001000\x00" {
			t.Errorf("pid 1 is %q", out)
		}
	})
}

// TestCount holds that many containers at once all run and all end.
func TestCount(t *testing.T) {
	leavesNothing(t)
	const count = 50
	type answer struct {
		number int
		result
		err error
	}
	answers := make(chan answer, count)
	for i := range count {
		go func() {
			r, err := attempt(t.Context(), shared.DPU, "", "docker", "run", "--rm", "--network", "none", image("busybox"),
				"sh", "-c", "echo "+strconv.Itoa(i)+"; exit "+strconv.Itoa(i))
			answers <- answer{i, r, err}
		}()
	}
	for range count {
		a := <-answers
		if a.err != nil {
			t.Errorf("container %d: %v", a.number, a.err)
			continue
		}
		if a.code != a.number || a.stdout != strconv.Itoa(a.number)+"\n" {
			t.Errorf("container %d: exit status %d and %q: %s", a.number, a.code, a.stdout, a.stderr)
		}
	}
}

// TestTogether holds that many containers can run at the same time, and be told apart.
func TestTogether(t *testing.T) {
	leavesNothing(t)
	const count = 50
	ids := make([]string, count)
	each := func(what string, do func(i int) (result, error)) {
		t.Helper()
		// A few at a time, as fast as this machine can.
		errs, turns := make(chan error, count), make(chan struct{}, 4)
		for i := range count {
			turns <- struct{}{}
			go func() {
				r, err := do(i)
				if err == nil && r.code != 0 {
					err = fmt.Errorf("container %d: exit status %d: %s", i, r.code, r.all())
				}
				<-turns
				errs <- err
			}()
		}
		for range count {
			if err := <-errs; err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	t.Cleanup(func() { docker(t, append([]string{"rm", "-f"}, ids...)...) })
	each("run", func(i int) (result, error) {
		ids[i] = name(t) + strconv.Itoa(i)
		return attempt(t.Context(), shared.DPU, "", "docker", "run", "-d", "--name", ids[i], "-e", "NUMBER="+strconv.Itoa(i),
			"--network", "none", image("busybox"), "sleep", "1000")
	})
	each("exec", func(i int) (result, error) {
		r, err := attempt(t.Context(), shared.DPU, "", "docker", "exec", ids[i], "sh", "-c", "echo $NUMBER")
		if err == nil && r.stdout != strconv.Itoa(i)+"\n" {
			err = fmt.Errorf("container %d answers %q", i, r.all())
		}
		return r, err
	})
	docker(t, append([]string{"kill"}, ids...)...)
}
