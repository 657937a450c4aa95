// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/agent/dpu"
	"github.com/container-offload/offload/udsbridge/pidfd"
)

// rexecPair is a pair of which both may run programs of the other.
func rexecPair(t *testing.T) *pair {
	t.Helper()
	p := newPair(t, "rexec.allow = \"DIR/allow.toml\"\n")
	p.dpu.Rexec.Allow = p.dir + "/allow.toml"
	p.write(t, p.dir+"/allow.toml", "version = 1\n[[allow]]\nprogram = \"/**\"\n")
	program := filepath.Join(t.TempDir(), "rexec")
	build := exec.Command("go", "build", "-o", program, "../cmd/rexec")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	t.Setenv("PATH", filepath.Dir(program)+":"+os.Getenv("PATH"))
	t.Cleanup(func() {
		p.endServer(t, p.dir+"/agent/rexec-server.sock")
		p.endServer(t, p.dir+"/dpu/rexec-server.sock")
	})
	return p
}

// endServer ends a server, which outlives the daemons.
func (p *pair) endServer(t *testing.T, socket string) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	_, pid, err := pidfd.Peer(c.(*net.UnixConn))
	c.Close()
	require.NoError(t, err)
	process, err := pidfd.Open(pid)
	require.NoError(t, err)
	defer process.Close()
	require.NoError(t, unix.Kill(pid, unix.SIGTERM))
	assert.True(t, process.Wait(nil))
}

// rexec returns rexec on one of the machines.
func (p *pair) rexec(on string, args ...string) *exec.Cmd {
	cmd := exec.Command("rexec", args...)
	cmd.Env = append(os.Environ(), "REXEC_CONNECT=unix://"+p.dir+"/rexec-"+on+".sock")
	return cmd
}

func TestRexecBothWays(t *testing.T) {
	p := rexecPair(t)
	p.runHost(t)
	p.runDPU(t)
	p.report(t, up)
	for _, on := range []string{"dpu", "host"} {
		out, err := p.rexec(on, "sh", "-c", "echo hello; exit 3").CombinedOutput()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, string(out))
		assert.Equal(t, 3, exit.ExitCode(), string(out))
		assert.Equal(t, "hello\n", string(out))
	}
}

func TestRexecIsClosed(t *testing.T) {
	p := rexecPair(t)
	p.dpu.Rexec.Allow = ""
	p.runHost(t)
	p.runDPU(t)
	p.report(t, up)
	require.NoError(t, p.rexec("dpu", "true").Run())
	require.Eventually(t, func() bool {
		out, _ := p.rexec("host", "true").CombinedOutput()
		return bytes.Contains(out, []byte("service \"rexec\" is not offered"))
	}, patience, 100*time.Millisecond)
}

func TestRexecOutlivesDaemons(t *testing.T) {
	p := rexecPair(t)
	stopHost := p.runHost(t)
	stopDPU := p.runDPU(t)
	p.report(t, up)
	cmd := p.rexec("dpu", "cat")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	echo := func(s string) {
		_, err := in.Write([]byte(s))
		require.NoError(t, err)
		b := make([]byte, len(s))
		for n := 0; n < len(b); {
			m, err := out.Read(b[n:])
			require.NoError(t, err)
			n += m
		}
		assert.Equal(t, s, string(b))
	}
	echo("before\n")
	stopHost()
	stopHost = p.runHost(t)
	echo("the HOST's daemon was restarted\n")
	stopDPU()
	run(t, func(ctx context.Context) error { return dpu.Run(ctx, p.dpu, nil, slog.New(slog.DiscardHandler)) })
	echo("and the DPU's\n")
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())
	_ = stopHost
}
