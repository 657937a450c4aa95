// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package rexec_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/udsbridge/pki"
)

// newDirect starts a server that listens on tcp, and a cable to it.
func newDirect(t *testing.T) *link {
	t.Helper()
	l := &link{rig: prepare(t, everything)}
	require.NoError(t, pki.Init(l.dir, pki.Options{}))
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l.address = free.Addr().String()
	free.Close()
	l.cable = newCable(t, l.address)
	l.serve(append([]string{"--listen", "tcp://" + l.address}, l.certificates(pki.RoleHost)...)...)
	l.await("the server", func() bool {
		c, err := net.Dial("tcp", l.address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	l.env = []string{
		"REXEC_CONNECT=tcp://" + l.cable.address,
		"REXEC_CA=" + filepath.Join(l.dir, pki.CACert), "REXEC_CERT=" + filepath.Join(l.dir, "dpu.crt"), "REXEC_KEY=" + filepath.Join(l.dir, "dpu.key"),
	}
	return l
}

// certificates are the flags for a role.
func (l *link) certificates(role pki.Role) []string {
	return []string{
		"--ca", filepath.Join(l.dir, pki.CACert),
		"--cert", filepath.Join(l.dir, string(role)+".crt"), "--key", filepath.Join(l.dir, string(role)+".key"),
	}
}

func TestDirect(t *testing.T) {
	l := newDirect(t)
	assert.Equal(t, "hello\n", l.must("echo", "hello"))
	_, err := os.Lstat(l.socket)
	assert.ErrorIs(t, err, os.ErrNotExist, "there is a socket that nobody asked for")

	// A rexec under another name has no flags.
	other := filepath.Join(l.dir, "expr")
	require.NoError(t, os.Symlink(program, other))
	cmd := exec.Command(other, "6", "*", "7")
	cmd.Env = append(os.Environ(), l.env...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Equal(t, "42\n", string(out))

	id := l.must("--background", "sleep", "1000")
	assert.Contains(t, l.must("ps"), "sleep 1000")
	l.must("kill", "-s", "KILL", id[:len(id)-1])
	out, err = l.command("wait", id[:len(id)-1]).CombinedOutput()
	assert.Equal(t, syscall.SIGKILL, status(t, err).Signal(), "%s", out)
}

func TestDirectWithoutPermission(t *testing.T) {
	l := newDirect(t)
	fails := func(args ...string) string {
		out, err := l.command(append(args, "true")...).CombinedOutput()
		assert.Equal(t, 125, status(t, err).ExitStatus())
		return string(out)
	}
	// The other role's certificate is no client's.
	assert.Contains(t, fails(l.certificates(pki.RoleHost)...), "certificate")
	l.env = []string{"REXEC_CONNECT=tcp://" + l.cable.address}
	assert.Contains(t, fails(), "tcp without TLS must be allowed explicitly")
	assert.Contains(t, fails("--insecure"), "no connection without TLS is taken here")

	serve := func(address string) string {
		out, err := exec.Command(program, "serve", "--allow", filepath.Join(l.dir, "allow.toml"), "--dir", filepath.Join(l.dir, "other"), "--listen", address).CombinedOutput()
		assert.Equal(t, 125, status(t, err).ExitStatus())
		return string(out)
	}
	assert.Contains(t, serve("tcp://127.0.0.1:0"), "tcp without TLS must be allowed explicitly")
	assert.Contains(t, serve("vsock://any:7600"), "vsock for everybody must be allowed explicitly")
}

func TestDirectLinkIsCut(t *testing.T) {
	l := newDirect(t)
	l.through(func() {
		l.cable.cut()
		time.Sleep(50 * time.Millisecond)
		l.cable.mend()
	})
}

// The server learns of the end of a client's process by its connection.
func TestDirectClientDies(t *testing.T) {
	l := newDirect(t)
	cmd := l.command("-C", l.dir, "sh", "-c", "echo $$ > pid; sleep 1000")
	require.NoError(t, cmd.Start())
	pid := l.pidOf(filepath.Join(l.dir, "pid"))
	kill(cmd)
	require.Eventually(t, func() bool { return !alive(pid) }, 60*time.Second, 20*time.Millisecond, fmt.Sprintf("the end of process %d", pid))
}
