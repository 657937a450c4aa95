// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package rexec_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// link is a rig with two daemons, and a wire between them that can be cut.
type link struct {
	*rig
	host, dpu *exec.Cmd
	address   string
	cable     *cable
}

func newLink(t *testing.T) *link {
	t.Helper()
	l := &link{rig: newRig(t, everything)}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l.address = free.Addr().String()
	free.Close()
	l.cable = newCable(t, l.address)
	l.client = filepath.Join(l.dir, "client.sock")
	l.startHost()
	l.startDPU()
	return l
}

func (l *link) startHost() {
	l.host = l.daemon("in", l.address, l.socket)
	l.await("the daemon of the HOST", func() bool {
		c, err := net.Dial("tcp", l.address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (l *link) startDPU() {
	l.dpu = l.daemon("out", l.client, l.cable.address)
	l.await("the daemon of the DPU", func() bool { return reachable(l.client) })
}

// cable carries TCP connections until it is cut.
type cable struct {
	address string
	mu      sync.Mutex
	conns   []net.Conn
	down    bool
}

func newCable(t *testing.T, to string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &cable{address: l.Addr().String()}
	t.Cleanup(func() { l.Close(); w.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry(c, to)
		}
	}()
	return w
}

func (w *cable) carry(c net.Conn, to string) {
	p, err := net.Dial("tcp", to)
	if err != nil {
		c.Close()
		return
	}
	w.mu.Lock()
	if w.down {
		c.Close()
		p.Close()
	}
	w.conns = append(w.conns, c, p)
	w.mu.Unlock()
	go func() { _, _ = io.Copy(p, c); p.Close() }()
	_, _ = io.Copy(c, p)
	c.Close()
}

// cut ends every connection, and takes no more until mend.
func (w *cable) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = true
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

func (w *cable) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = false
}

// slowly gives random bytes piece by piece and counts what it gave.
type slowly struct {
	left  int
	pause time.Duration
	all   bytes.Buffer
}

func (s *slowly) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(s.pause)
	n := min(len(p), s.left, 32<<10)
	_, _ = rand.Read(p[:n])
	s.all.Write(p[:n])
	s.left -= n
	return n, nil
}

// sink keeps what it is given and says when it is given something.
type sink struct {
	all   bytes.Buffer
	once  sync.Once
	begun chan struct{}
}

func (s *sink) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.begun) })
	return s.all.Write(p)
}

// through has a program echo what it is given while something is done to the
// link, and checks that nothing was lost, doubled or changed.
func (l *link) through(disturb func()) {
	l.t.Helper()
	src := &slowly{left: 12 << 20, pause: 3 * time.Millisecond}
	cmd := l.command("sh", "-c", "cat; echo done >&2; exit 5")
	var errOut bytes.Buffer
	out := sink{begun: make(chan struct{})}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = src, &out, &errOut
	require.NoError(l.t, cmd.Start())
	stop := make(chan struct{})
	var disturbed sync.WaitGroup
	disturbed.Go(func() {
		// A link that is not there yet is no link that is lost.
		select {
		case <-out.begun:
		case <-stop:
		}
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
				disturb()
			}
		}
	})
	err := cmd.Wait()
	close(stop)
	disturbed.Wait()
	assert.Equal(l.t, 5, status(l.t, err).ExitStatus())
	assert.Equal(l.t, "done\n", errOut.String())
	assert.Equal(l.t, sha256.Sum256(src.all.Bytes()), sha256.Sum256(out.all.Bytes()))
}

func TestLinkIsCut(t *testing.T) {
	l := newLink(t)
	l.must("true")
	l.through(func() {
		l.cable.cut()
		time.Sleep(50 * time.Millisecond)
		l.cable.mend()
	})
}

func TestDaemonsAreKilled(t *testing.T) {
	l := newLink(t)
	l.must("true")
	n := 0
	l.through(func() {
		if n++; n%2 == 0 {
			kill(l.dpu)
			l.startDPU()
		} else {
			kill(l.host)
			l.startHost()
		}
	})
	assert.Positive(t, n)
}

func TestSignalOverALostLink(t *testing.T) {
	l := newLink(t)
	cmd := l.command("bash", "-c", "trap 'echo got; exit 3' USR1; echo ready; while :; do sleep 0.02; done")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = io.ReadFull(out, make([]byte, 6))
	require.NoError(t, err)
	l.cable.cut()
	require.NoError(t, cmd.Process.Signal(syscall.SIGUSR1))
	time.Sleep(100 * time.Millisecond)
	l.cable.mend()
	rest, err := io.ReadAll(out)
	require.NoError(t, err)
	assert.Equal(t, "got\n", string(rest))
	assert.Equal(t, 3, status(t, cmd.Wait()).ExitStatus())
}

func TestImpatienceEndsTheClient(t *testing.T) {
	l := newLink(t)
	cmd := l.command("sleep", "1000")
	require.NoError(t, cmd.Start())
	l.await("the run", func() bool { return strings.Contains(l.must("ps"), "sleep") })
	l.cable.cut()
	defer l.cable.mend()
	for range 3 {
		require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
		time.Sleep(50 * time.Millisecond)
	}
	assert.Equal(t, syscall.SIGINT, status(t, cmd.Wait()).Signal())
}

func TestRelayedClientDies(t *testing.T) {
	l := newLink(t)
	for name, between := range map[string]func(){
		"link up": func() {},
		"link down": func() {
			l.cable.cut()
			time.AfterFunc(300*time.Millisecond, l.cable.mend)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			cmd := l.command("-C", dir, "sh", "-c", "echo $$ > pid; sleep 1000")
			require.NoError(t, cmd.Start())
			pid := l.pidOf(filepath.Join(dir, "pid"))
			between()
			kill(cmd)
			l.await("the end of the program", func() bool { return !alive(pid) })
		})
	}
}

func TestClientSaysWhyItCannot(t *testing.T) {
	l := newLink(t)
	fails := func() string {
		out, err := l.command("true").CombinedOutput()
		assert.Equal(t, 125, status(t, err).ExitStatus())
		return string(out)
	}
	require.NoError(t, l.server.Process.Signal(syscall.SIGTERM))
	_ = l.server.Wait()
	assert.Contains(t, fails(), "the peer has no server: see its log")
	kill(l.host)
	assert.Contains(t, fails(), `open stream "rexec" to HOST: link is down`)
	kill(l.dpu)
	assert.Contains(t, fails(), fmt.Sprintf("reach rexec on %s", l.client))
	require.NoError(t, os.Remove(l.client))
	assert.Contains(t, fails(), "no such file or directory")
}
