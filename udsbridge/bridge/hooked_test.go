// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/udsbridge/bridge/hook"
	"github.com/container-offload/offload/udsbridge/bridge/policy"
)

// hooked returns a pair whose rule hooks, with a program there that answers with one
// word and ends.
func hooked(t *testing.T) (p *pair, l *net.UnixListener, here string) {
	t.Helper()
	p = newPair(t, pairOptions{technique: policy.Hook})
	there, here := p.path("s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: there, Net: "unix"})
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("hello"))
			c.Close()
		}
	}()
	p.await(filepath.Join(HookBase(p.near.runtime, p.here), "s"))
	return p, l, here
}

// A hook leads programs, this one among them, to the peer without anything being at
// the path.
func TestHook(t *testing.T) {
	h, err := hook.New("")
	if errors.Is(err, hook.ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	require.NoError(t, h.Close())

	p, l, here := hooked(t)
	_, err = os.Lstat(p.here)
	require.ErrorIs(t, err, os.ErrNotExist)
	c, err := net.Dial("unix", here)
	require.NoError(t, err)
	defer c.Close()
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(got))
	assert.Equal(t, here, c.RemoteAddr().String())
	_, err = net.Dial("unix", here+"x")
	assert.ErrorIs(t, err, syscall.ENOENT)
	l.Close()
	eventually(t, func() bool {
		_, err := net.Dial("unix", here)
		return errors.Is(err, syscall.ENOENT)
	}, "ENOENT")
	require.NoError(t, p.near.Remove(p.here))
	assert.Empty(t, p.near.Status().Rules)
	require.NoError(t, p.near.Close())
	assert.NoDirExists(t, p.near.runtime)
}

// Without a hook in the kernel, a program can be started with libudsbridge.so.
func TestPreload(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc")
	}
	dir := shortDir(t)
	library, program := filepath.Join(dir, "libudsbridge.so"), filepath.Join(dir, "client")
	build := func(args ...string) {
		out, err := exec.Command(gcc, append([]string{"-Wall", "-Wextra", "-Werror", "-O2"}, args...)...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	build("-shared", "-fPIC", "-o", library, "../preload/libudsbridge.c", "-ldl")
	build("-o", program, "testdata/client.c")

	p, _, here := hooked(t)
	require.NoError(t, p.near.hook.Close()) // as if the kernel had none
	p.near.hook = nil
	run := func(args ...string) (string, error) {
		cmd := exec.Command(program, args...)
		cmd.Env = append(os.Environ(), "LD_PRELOAD="+library, "UDSBRIDGE_MAP="+filepath.Join(p.near.runtime, preloadMap))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run(here)
	require.NoError(t, err, out)
	assert.Equal(t, "peer "+here+"\nhello", out)
	out, err = run(here + "x")
	require.Error(t, err)
	assert.Equal(t, "connect: No such file or directory\n", out)
	// And it can say at once that a descriptor can't be passed.
	out, err = run(here, "epoll")
	require.Error(t, err)
	assert.Contains(t, out, "sendmsg: Operation not supported")
}
