// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package rexec_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// alive reports whether a process has not ended.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(b, []byte(") Z "))
}

// children returns the processes of the server, ended ones too.
func (r *rig) children() []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", r.server.Process.Pid, r.server.Process.Pid))
	require.NoError(r.t, err)
	out := strings.Fields(string(b))
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", r.server.Process.Pid))
	require.NoError(r.t, err)
	for _, task := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", r.server.Process.Pid, task.Name()))
		if err == nil {
			out = append(out, strings.Fields(string(b))...)
		}
	}
	return out
}

func (r *rig) descriptors() int {
	l, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.server.Process.Pid))
	require.NoError(r.t, err)
	return len(l)
}

// pidOf reads a pid that a program has written.
func (r *rig) pidOf(path string) int {
	r.t.Helper()
	pid := 0
	r.await("the pid in "+path, func() bool {
		b, _ := os.ReadFile(path)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
		return pid > 0 && bytes.HasSuffix(b, []byte("\n"))
	})
	return pid
}

func TestClientDies(t *testing.T) {
	r := newRig(t, everything)
	for name, flags := range map[string][]string{"pipes": {"-T"}, "terminal": {"-t"}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			script := "trap 'echo hup > hup; sleep 100' HUP; sleep 100 & echo $! > child; echo $$ > pid; while :; do sleep 0.05; done"
			cmd := r.command(append(flags, "-C", dir, "bash", "-c", script)...)
			require.NoError(t, cmd.Start())
			pid, child := r.pidOf(filepath.Join(dir, "pid")), r.pidOf(filepath.Join(dir, "child"))
			kill(cmd)
			r.await("SIGHUP", func() bool { _, err := os.Stat(filepath.Join(dir, "hup")); return err == nil })
			assert.True(t, alive(pid), "there is a grace time")
			r.await("the end of the program", func() bool { return !alive(pid) && !alive(child) })
			r.await("no child", func() bool { return len(r.children()) == 0 })
		})
	}
}

func TestServerDies(t *testing.T) {
	r := newRig(t, everything)
	for name, flags := range map[string][]string{"pipes": {"-T"}, "terminal": {"-t"}} {
		dir := t.TempDir()
		cmd := r.command(append(flags, "-C", dir, "bash", "-c", "trap '' HUP; echo $$ > pid; while :; do sleep 0.05; done")...)
		require.NoError(t, cmd.Start(), name)
		defer kill(cmd)
		r.pidOf(filepath.Join(dir, "pid"))
		t.Cleanup(func() {
			pid := r.pidOf(filepath.Join(dir, "pid"))
			r.await("the end of the program", func() bool { return !alive(pid) })
		})
	}
	require.NoError(t, r.server.Process.Kill())
	_ = r.server.Wait()
}

func TestServerEnds(t *testing.T) {
	r := newRig(t, everything)
	dir := t.TempDir()
	cmd := r.command("-C", dir, "bash", "-c", "echo $$ > pid; while :; do sleep 0.05; done")
	require.NoError(t, cmd.Start())
	defer kill(cmd)
	pid := r.pidOf(filepath.Join(dir, "pid"))
	require.NoError(t, r.server.Process.Signal(syscall.SIGTERM))
	_ = r.server.Wait()
	assert.False(t, alive(pid))
	assert.NoDirExists(t, filepath.Join(r.dir, "own", "exec"))
	assert.NoFileExists(t, r.socket)
	assert.NotEqual(t, 0, status(t, cmd.Wait()))
}

func TestDetach(t *testing.T) {
	r := newRig(t, everything)
	dir := t.TempDir()
	cmd := r.command("--detach", "-C", dir, "sh", "-c", "echo begun; while [ ! -e go ]; do sleep 0.02; done; echo after; read x; echo got $x; exit 11")
	var out bytes.Buffer
	cmd.Stdout = &out
	in := input(t, cmd)
	require.NoError(t, cmd.Start())
	var runs []struct {
		ID, State string
		PID       int
		Attached  bool
		Status    *int
	}
	list := func() {
		require.NoError(t, json.Unmarshal([]byte(r.must("ps", "-o", "json")), &runs))
	}
	r.await("the run", func() bool { list(); return len(runs) == 1 && runs[0].Attached })
	kill(cmd)
	in.Close()
	r.await("the client to be gone", func() bool { list(); return !runs[0].Attached })
	assert.Equal(t, "begun\n", out.String())
	assert.Equal(t, "running", runs[0].State)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))

	waiter := r.command("wait", runs[0].ID)
	require.NoError(t, waiter.Start())
	attach := r.command("attach", runs[0].ID)
	attach.Stdin = strings.NewReader("word\n")
	got, err := attach.Output()
	assert.Equal(t, "after\ngot word\n", string(got))
	assert.Equal(t, 11, status(t, err).ExitStatus())
	assert.Equal(t, 11, status(t, waiter.Wait()).ExitStatus())
	assert.Equal(t, 11, status(t, r.command("wait", runs[0].ID).Run()).ExitStatus(), "its end is remembered")
	list()
	assert.Equal(t, "ended", runs[0].State)
}

func TestBackground(t *testing.T) {
	r := newRig(t, everything)
	id := strings.TrimSpace(r.must("--background", "sh", "-c", "echo some output; sleep 1000"))
	require.Len(t, id, 8)
	assert.Contains(t, r.must("ps"), "running, detached")
	r.must("kill", "-s", "USR1", id)
	assert.Equal(t, syscall.SIGUSR1, status(t, r.command("wait", id).Run()).Signal())
	attach := r.command("attach", id)
	out, err := attach.Output()
	assert.Equal(t, "some output\n", string(out))
	assert.Equal(t, syscall.SIGUSR1, status(t, err).Signal())
	_, err = r.output("kill", "nonesuch")
	assert.ErrorContains(t, err, `there is no run "nonesuch"`)
}

func TestHangupDetaches(t *testing.T) {
	r := newRig(t, everything)
	cmd := r.command("--detach", "sleep", "1000")
	require.NoError(t, cmd.Start())
	r.await("the run", func() bool { return strings.Contains(r.must("ps"), "running") })
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	assert.Equal(t, syscall.SIGHUP, status(t, cmd.Wait()).Signal())
	r.await("the run without a client", func() bool { return strings.Contains(r.must("ps"), "running, detached") })
}

func TestNothingIsLeft(t *testing.T) {
	r := newRig(t, everything)
	r.must("true")
	time.Sleep(time.Second)
	before := r.descriptors()
	for range 20 {
		r.must("-t", "true")
		r.must("cat", "/dev/null")
		_, _ = r.output("nonesuch")
		_, _ = r.output("-u", "nobody", "-C", "/root", "true")
		kill(started(t, r.command("sleep", "1000")))
		kill(started(t, r.command("-t", "sleep", "1000")))
	}
	r.await("descriptors to be closed", func() bool { return r.descriptors() <= before })
	assert.Empty(t, r.children())
}

func started(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	require.NoError(t, cmd.Start())
	return cmd
}

func TestMostRuns(t *testing.T) {
	r := newRig(t, "version = 1\nmax_runs = 2\ngrace = '0s'\n[[allow]]\nprogram = '/**'\n")
	for range 2 {
		r.must("-b", "sleep", "1000")
	}
	_, err := r.output("true")
	assert.ErrorContains(t, err, "2 programs run already, which is the most")
	assert.Equal(t, 125, status(t, r.command("true").Run()).ExitStatus())
}

func TestReload(t *testing.T) {
	r := newRig(t, everything)
	r.must("true")
	allow := filepath.Join(r.dir, "allow.toml")
	require.NoError(t, os.WriteFile(allow, []byte("version = 1\n[[allow]]\nprogram = '/usr/bin/echo'\nargs = ['a', '...']\n"), 0o600))
	require.NoError(t, r.server.Process.Signal(syscall.SIGHUP))
	r.await("the new list", func() bool { _, err := r.output("true"); return err != nil })
	assert.Equal(t, "a b\n", r.must("echo", "a", "b"))
	_, err := r.output("echo", "b")
	assert.ErrorContains(t, err, "echo is not allowed: rule 1 does not allow these arguments")
	assert.Equal(t, 126, status(t, r.command("true").Run()).ExitStatus())

	require.NoError(t, os.WriteFile(allow, []byte("version = 1\nnonsense = 2\n"), 0o600))
	require.NoError(t, r.server.Process.Signal(syscall.SIGHUP))
	r.await("the complaint", func() bool {
		b, _ := os.ReadFile(r.log)
		return bytes.Contains(b, []byte("the allow-list stays as it was"))
	})
	assert.Equal(t, "a\n", r.must("echo", "a"))
}

func TestRefusesUnsafeList(t *testing.T) {
	r := newRig(t, everything)
	list := filepath.Join(t.TempDir(), "list")
	require.NoError(t, os.WriteFile(list, []byte(everything), 0o644))
	serve := func() string {
		out, err := exec.Command(program, "serve", "--socket", filepath.Join(r.dir, "other.sock"), "--allow", list, "--dir", filepath.Join(r.dir, "other")).CombinedOutput()
		assert.Equal(t, 125, status(t, err).ExitStatus())
		return string(out)
	}
	assert.Contains(t, serve(), "its mode is 0644, not 0400 or 0600")
	require.NoError(t, os.Chmod(list, 0o400))
	require.NoError(t, os.Chown(list, 1, 0))
	assert.Contains(t, serve(), "it belongs to uid 1, not to root")
	require.NoError(t, os.Chown(list, 0, 0))
	link := list + ".link"
	require.NoError(t, os.Symlink(list, link))
	list = link
	assert.Contains(t, serve(), "too many levels of symbolic links")
}

func TestEveryRunIsLogged(t *testing.T) {
	r := newRig(t, everything)
	_ = r.command("sh", "-c", "exit 3").Run()
	r.await("the log", func() bool {
		b, _ := os.ReadFile(r.log)
		for _, want := range []string{"run ended", "who=\"local uid 0 pid ", "user=root", "program=/usr/bin/sh", "command=\"sh -c exit 3\"", "status=3", "duration="} {
			if !bytes.Contains(b, []byte(want)) {
				return false
			}
		}
		return true
	})
}
