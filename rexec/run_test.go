// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package rexec_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestExitStatus(t *testing.T) {
	r := newRig(t, everything)
	var all sync.WaitGroup
	slots := make(chan struct{}, 8)
	for code := range 256 {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			err := r.command("sh", "-c", "exit "+strconv.Itoa(code)).Run()
			assert.Equal(t, code, status(t, err).ExitStatus())
		})
	}
	all.Wait()
}

func TestDeathBySignal(t *testing.T) {
	r := newRig(t, everything)
	for sig := 1; sig <= 31; sig++ {
		switch syscall.Signal(sig) {
		case syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU:
			continue
		}
		script := fmt.Sprintf("ulimit -c 0; kill -%d $$; sleep 0.01; exit 5", sig)
		here := status(t, exec.Command("sh", "-c", script).Run())
		there := status(t, r.command("sh", "-c", script).Run())
		assert.Equal(t, here, there, "signal %d", sig)
	}
}

func TestSignalsArePassedOn(t *testing.T) {
	r := newRig(t, everything)
	var all sync.WaitGroup
	slots := make(chan struct{}, 8)
	for sig := syscall.Signal(1); sig <= 31; sig++ {
		switch sig {
		case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGURG, syscall.SIGCHLD, syscall.SIGPROF, syscall.SIGPIPE:
			continue
		}
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			cmd := r.command("bash", "-c", fmt.Sprintf("trap 'echo got %d; exit 7' %d; echo ready; while :; do sleep 0.02; done", sig, sig))
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			ready := make([]byte, 6)
			_, err = io.ReadFull(out, ready)
			require.NoError(t, err)
			require.NoError(t, cmd.Process.Signal(sig))
			rest, err := io.ReadAll(out)
			require.NoError(t, err)
			assert.Equal(t, fmt.Sprintf("got %d\n", sig), string(rest))
			assert.Equal(t, 7, status(t, cmd.Wait()).ExitStatus(), "signal %d", sig)
		})
	}
	all.Wait()
}

func TestInputAndOutput(t *testing.T) {
	r := newRig(t, everything)
	data := make([]byte, 8<<20)
	_, _ = rand.Read(data)
	cmd := r.command("cat")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	require.NoError(t, err)
	assert.Equal(t, sha256.Sum256(data), sha256.Sum256(out))

	cmd = r.command("sh", "-c", "echo out; echo err >&2")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run())
	assert.Equal(t, "out\n", stdout.String())
	assert.Equal(t, "err\n", stderr.String())

	// One pipe for both keeps the order.
	both, err := r.command("sh", "-c", "for i in 1 2 3 4 5; do echo $i; echo -$i >&2; done").CombinedOutput()
	require.NoError(t, err)
	assert.Equal(t, "1\n-1\n2\n-2\n3\n-3\n4\n-4\n5\n-5\n", string(both))
}

func TestInputIsLeftToOthersOnRefusal(t *testing.T) {
	r := newRig(t, everything)
	script := fmt.Sprintf("%s nosuch 2>/dev/null; cat", program)
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), "REXEC_CONNECT=unix://"+r.client)
	cmd.Stdin = strings.NewReader("still here\n")
	out, err := cmd.Output()
	require.NoError(t, err)
	assert.Equal(t, "still here\n", string(out))
}

func TestReaderThatGoesAway(t *testing.T) {
	r := newRig(t, everything)
	cmd := exec.Command("bash", "-c", program+" yes | head -1; echo ${PIPESTATUS[0]}")
	cmd.Env = append(os.Environ(), "REXEC_CONNECT=unix://"+r.client)
	out, err := cmd.Output()
	require.NoError(t, err)
	assert.Equal(t, "y\n141\n", string(out))

	// Only the one who wrote gets the signal.
	cmd = exec.Command("bash", "-c", program+" sh -c 'yes; echo $? >&2' 2>&1 >&3 3>&- | cat", "x")
	cmd.Args[2] = "{ " + program + " sh -c 'yes; echo ended $? >&2' | head -1 >/dev/null; } 2>&1"
	cmd.Env = append(os.Environ(), "REXEC_CONNECT=unix://"+r.client)
	out, err = cmd.Output()
	require.NoError(t, err)
	assert.Equal(t, "ended 141\n", string(out))
}

func TestProgramThatClosesItsInput(t *testing.T) {
	r := newRig(t, everything)
	cmd := exec.Command("bash", "-c", "yes | "+program+" true; echo ${PIPESTATUS[*]}")
	cmd.Env = append(os.Environ(), "REXEC_CONNECT=unix://"+r.client)
	out, err := cmd.Output()
	require.NoError(t, err)
	assert.Equal(t, "141 0\n", string(out))
}

func TestXargs(t *testing.T) {
	r := newRig(t, everything)
	cmd := exec.Command("sh", "-c", "seq 40 | xargs -P 8 -I N "+program+" sh -c 'exit 3'")
	cmd.Env = append(os.Environ(), "REXEC_CONNECT=unix://"+r.client)
	assert.Equal(t, 123, status(t, cmd.Run()).ExitStatus())
	cmd = exec.Command("sh", "-c", "seq 40 | xargs -P 8 -I N "+program+" echo N | sort -n | tr '\\n' ' '")
	cmd.Env = append(os.Environ(), "REXEC_CONNECT=unix://"+r.client)
	out, err := cmd.Output()
	require.NoError(t, err)
	assert.Len(t, strings.Fields(string(out)), 40)
}

func TestFurtherDescriptors(t *testing.T) {
	r := newRig(t, everything)
	pr, pw, err := os.Pipe()
	require.NoError(t, err)
	defer pr.Close()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	cmd := r.command("--fd", "3", "--fd", "4", "sh", "-c", "echo three >&3; read line <&4; echo back $line >&4")
	cmd.ExtraFiles = []*os.File{pw, theirs}
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	pw.Close()
	theirs.Close()
	_, err = ours.WriteString("four\n")
	require.NoError(t, err)
	three, err := io.ReadAll(pr)
	require.NoError(t, err)
	assert.Equal(t, "three\n", string(three))
	four, err := io.ReadAll(ours)
	require.NoError(t, err)
	assert.Equal(t, "back four\n", string(four))
	require.NoError(t, cmd.Wait())
}

func TestEnvironmentAndIdentity(t *testing.T) {
	r := newRig(t, everything)
	t.Setenv("MINE", "it's mine")
	t.Setenv("LD_PRELOAD", "")
	t.Setenv("OTHER", "other")
	env := func(args ...string) []string {
		return strings.Split(r.must(append(args, "/usr/bin/env")...), "\n")
	}
	assert.NotContains(t, env(), "MINE=it's mine")
	assert.Contains(t, env("--env-all"), "MINE=it's mine")
	assert.NotContains(t, strings.Join(env("--env-all"), "\n"), "LD_PRELOAD")
	assert.Contains(t, env("-e", "MINE", "-e", "OTHER=x"), "OTHER=x")
	for _, e := range env("--env-none") {
		name, _, _ := strings.Cut(e, "=")
		assert.Contains(t, []string{"PATH", "HOME", "USER", "LOGNAME", ""}, name)
	}
	_, err := r.output("-e", "LD_PRELOAD=/evil.so", "true")
	assert.ErrorContains(t, err, `rule 1 does not allow variable "LD_PRELOAD"`)

	assert.Equal(t, "65534 65534 65534\n", r.must("-u", "nobody", "sh", "-c", "echo $(id -u) $(id -g) $(id -G)"))
	assert.Equal(t, "1234 5 5 7 8\n", r.must("-u", "1234:5", "--groups", "7,8", "sh", "-c", "echo $(id -u) $(id -g) $(id -G)"))
	assert.Equal(t, "0027\n", r.must("--umask", "027", "sh", "-c", "umask"))
	assert.Equal(t, "77 99\n", r.must("--rlimit", "nofile=77:99", "sh", "-c", "echo $(ulimit -n) $(ulimit -Hn)"))
	assert.Equal(t, "/proc\n", r.must("-C", "/proc", "pwd"))
	dir := t.TempDir()
	t.Chdir(dir)
	assert.Equal(t, dir+"\n", r.must("pwd"))
	require.NoError(t, os.Mkdir("sub", 0o755))
	assert.Equal(t, filepath.Join(dir, "sub")+"\n", r.must("-C", "sub", "pwd"))
	_, err = r.output("-C", "/nonesuch", "pwd")
	assert.ErrorContains(t, err, "open /nonesuch: no such file or directory")
}

func TestNames(t *testing.T) {
	r := newRig(t, everything)
	// A program knows itself by its name, not by a descriptor.
	assert.Equal(t, "cat\n", r.must("cat", "/proc/self/comm"))
	assert.Equal(t, "cat\x00/proc/self/cmdline\x00", r.must("cat", "/proc/self/cmdline"))
	assert.Equal(t, "0\n1\n2\n3\n", r.must("ls", "/proc/self/fd"))

	link := filepath.Join(t.TempDir(), "uname")
	require.NoError(t, os.Symlink(program, link))
	cmd := exec.Command(link, "-s")
	cmd.Env = append(os.Environ(), "REXEC_CONNECT=unix://"+r.client)
	out, err := cmd.Output()
	require.NoError(t, err)
	assert.Equal(t, "Linux\n", string(out))

	script := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\necho script $1 ${0##*/}\n"), 0o755))
	assert.Equal(t, "script x script\n", r.must(script, "x"))
	require.NoError(t, os.WriteFile(script, []byte("#!/nonesuch\n"), 0o755))
	assert.Equal(t, 127, status(t, r.command(script).Run()).ExitStatus())
	require.NoError(t, os.WriteFile(script, []byte("neither"), 0o755))
	assert.Equal(t, 126, status(t, r.command(script).Run()).ExitStatus())
	require.NoError(t, os.WriteFile(script, nil, 0o644))
	require.NoError(t, os.Chmod(script, 0o644))
	assert.Equal(t, 126, status(t, r.command(script).Run()).ExitStatus())
	assert.Equal(t, 127, status(t, r.command("nonesuch").Run()).ExitStatus())
}
