// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package launcher_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/shim/host"
	"github.com/container-offload/offload/shim/launcher"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/pki"
	"github.com/container-offload/offload/udsbridge/session"
)

const (
	// asHalf is the environment variable that makes this program a HOST half.
	asHalf = "OFFLOAD_TEST_AS_HALF"
	// patience is how long something may take that happens by itself.
	patience = 60 * time.Second
)

func TestMain(m *testing.M) {
	if file := os.Getenv(asHalf); file != "" {
		cfg, err := config.LoadHost(file)
		if err == nil {
			err = host.Run(context.Background(), cfg, slog.New(slog.DiscardHandler))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// rig is a listener whose connections a launcher dispatches.
type rig struct {
	address link.Address
	dpu     link.Security
	halves  *launcher.Launcher
	state   string
}

func newRig(t *testing.T, warm int) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "launcher")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, pki.Init(dir, pki.Options{}))
	file := dir + "/host.toml"
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `version = 1
link.listen = "tcp://127.0.0.1:0"
link.tls = {ca = "%[1]s/ca.crt", cert = "%[1]s/host.crt", key = "%[1]s/host.key"}
shim = {binary = "/bin/true", state = "%[1]s/shims", runc = "/bin/true"}
state.dir = "%[1]s/agent"
`, dir), 0o600))
	cfg, err := config.LoadHost(file)
	require.NoError(t, err)
	security, err := cfg.Security()
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	r := &rig{state: cfg.Shim.State}
	r.dpu.TLS, err = pki.LoadTLS(pki.RoleDPU, pki.In(dir, pki.RoleDPU))
	require.NoError(t, err)
	r.halves, err = launcher.New(launcher.Config{
		Binary: self, Env: []string{asHalf + "=" + file}, Runc: "/bin/true", State: cfg.Shim.State,
		Warm: warm, Patience: 300 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		r.halves.Close()
		assert.Eventually(t, func() bool { return len(children(t)) == 0 }, patience, 10*time.Millisecond, "halves are left")
	})
	l, err := link.Listen(t.Context(), link.Address{Scheme: link.SchemeTCP, Host: "127.0.0.1"}, security)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	r.address = l.Addr()
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				_ = r.halves.Dispatch(context.Background(), in)
			}()
		}
	}()
	return r
}

// create asks for a pod as the DPU does, and ends it.
func (r *rig) create(t *testing.T, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d := link.Dialer{Address: r.address, Security: r.dpu}
	s, err := session.Dial(ctx, func(ctx context.Context) (net.Conn, error) {
		return d.Dial(ctx, link.Target{Kind: link.KindShim, Namespace: "default", ID: id, Create: true})
	}, session.Config{})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	var text []byte
	require.Eventually(t, func() bool {
		text, err = os.ReadFile(filepath.Join(launcher.PodDir(r.state, "default", id), launcher.PIDFile))
		return err == nil && len(text) > 0
	}, patience, time.Millisecond, "the half has taken the pod")
	pid, err := strconv.Atoi(string(text))
	require.NoError(t, err)
	require.NoError(t, unix.Kill(pid, unix.SIGKILL))
	require.Eventually(t, func() bool { return !slices.Contains(children(t), string(text)) }, patience, time.Millisecond)
}

// strangers connect and name pods, and say no more.
func (r *rig) strangers(t *testing.T, n int) []net.Conn {
	t.Helper()
	var all []net.Conn
	for i := range n {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.address.Port))
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		target := fmt.Sprintf("shim/default/stranger%d?create", i)
		_, err = c.Write(append([]byte{'O', 'F', 'F', 'L', 0, 1, 1, byte(len(target))}, target...))
		require.NoError(t, err)
		all = append(all, c)
	}
	return all
}

// children returns the pids of this process's children.
func children(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/children")
	assert.NoError(t, err)
	var all []string
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil { // a thread may have ended
			all = append(all, strings.Fields(string(b))...)
		}
	}
	return all
}

// A half whose peer isn't the DPU stays what it was.
func TestStrangerUsesUpNothing(t *testing.T) {
	r := newRig(t, 1)
	before := children(t)
	require.Len(t, before, 1)
	for _, c := range r.strangers(t, 3) {
		_, err := c.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
		for err == nil { // until it has been refused
			_, err = c.Read(make([]byte, 64))
		}
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	require.Eventually(t, func() bool { return len(children(t)) == 1 }, patience, 10*time.Millisecond)
	r.create(t, "honest")
}

// Many strangers at once hold a bounded number of halves, and not for long.
func TestManyStrangers(t *testing.T) {
	const most = 16
	r := newRig(t, 1)
	r.strangers(t, 2*most)
	require.Eventually(t, func() bool { return len(children(t)) == most }, patience, time.Millisecond, "halves for strangers")
	created, watched := make(chan bool), make(chan int)
	go func() {
		peak := 0
		for {
			peak = max(peak, len(children(t)))
			select {
			case <-created:
				watched <- peak
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	r.create(t, "honest")
	close(created)
	// Those that end and those that are made for the next may be there at once.
	assert.LessOrEqual(t, <-watched, 2*most+1)
}
