// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/udsbridge/fdpass"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/pki"
)

// helperEnv makes the test binary the process that takes a connection over: it
// holds the directory with the certificates, or "none".
const helperEnv = "OFFLOAD_LINK_TAKE_OVER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperEnv); dir != "" {
		if err := takeOver(dir); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// takeOver gets a connection on descriptor 3 and echoes on it.
func takeOver(dir string) error {
	c, err := net.FileConn(os.NewFile(3, "control"))
	if err != nil {
		return err
	}
	b, files, err := fdpass.Receive(c.(*net.UnixConn), 1024, 1)
	if err != nil {
		return err
	}
	target, err := link.ParseTarget(string(b))
	if err != nil {
		return err
	}
	security := link.Security{Insecure: true}
	if dir != "none" {
		security = link.Security{}
		security.TLS, err = pki.LoadTLS(pki.RoleHost, pki.In(dir, pki.RoleHost))
		if err != nil {
			return err
		}
	}
	in, err := link.Handover(files[0], target, security)
	if err != nil {
		return err
	}
	files[0].Close()
	conn, err := in.Handshake(context.Background())
	if err != nil {
		return err
	}
	return echo(conn)
}

// echo sends everything back, then closes.
func echo(conn net.Conn) error {
	defer conn.Close()
	if _, err := io.Copy(conn, conn); err != nil {
		return err
	}
	return conn.(interface{ CloseWrite() error }).CloseWrite()
}

var podTarget = link.Target{Kind: link.KindShim, Namespace: "k8s.io", ID: "pod-1", Create: true}

// way is one kind of link.
type way struct {
	name      string
	address   func(t *testing.T) string
	host, dpu link.Security
	dir       string // of the certificates, or "none"
}

func ways(t *testing.T) []way {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, pki.Init(dir, pki.Options{}))
	tcp := func(*testing.T) string { return "tcp://127.0.0.1:0" }
	unix := func(t *testing.T) string { return "unix://" + filepath.Join(t.TempDir(), "host.sock") }
	host, dpu := link.Security{TLS: loadTLS(t, pki.RoleHost, dir)}, link.Security{TLS: loadTLS(t, pki.RoleDPU, dir)}
	insecure := link.Security{Insecure: true}
	return []way{
		{"tcp+mTLS", tcp, host, dpu, dir},
		{"tcp", tcp, insecure, insecure, "none"},
		{"unix", unix, link.Security{}, link.Security{}, "none"},
		{"unix+mTLS", unix, host, dpu, dir},
	}
}

func loadTLS(t *testing.T, role pki.Role, dir string) (c *tlsConfig) {
	t.Helper()
	c, err := pki.LoadTLS(role, pki.In(dir, role))
	require.NoError(t, err)
	return c
}

func listen(t *testing.T, address string, security link.Security) *link.Listener {
	t.Helper()
	a, err := link.ParseAddress(address)
	require.NoError(t, err)
	l, err := link.Listen(t.Context(), a, security)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// serve calls f with each connection.
func serve(t *testing.T, l *link.Listener, f func(*link.Incoming)) {
	t.Helper()
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go f(in)
		}
	}()
}

func TestEcho(t *testing.T) {
	for _, w := range ways(t) {
		t.Run(w.name, func(t *testing.T) {
			l := listen(t, w.address(t), w.host)
			targets := make(chan link.Target, 1)
			serve(t, l, func(in *link.Incoming) {
				targets <- in.Target
				if conn, err := in.Handshake(t.Context()); err == nil {
					_ = echo(conn)
				}
			})
			d := link.Dialer{Address: l.Addr(), Security: w.dpu}
			checkEcho(t, &d)
			require.Equal(t, podTarget, <-targets)
		})
	}
}

// checkEcho sends more than any buffer holds and expects it back, then the end.
func checkEcho(t *testing.T, d *link.Dialer) {
	t.Helper()
	checkEchoOf(t, d, 8<<20)
}

func checkEchoOf(t *testing.T, d *link.Dialer, size int) {
	t.Helper()
	conn, err := d.Dial(t.Context(), podTarget)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	data := make([]byte, size)
	_, _ = rand.Read(data)
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(data)
		written <- errors.Join(err, conn.(interface{ CloseWrite() error }).CloseWrite())
	}()
	back, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.NoError(t, <-written)
	require.True(t, bytes.Equal(data, back), "what came back differs")
}

func TestRefuse(t *testing.T) {
	for _, w := range ways(t) {
		t.Run(w.name, func(t *testing.T) {
			l := listen(t, w.address(t), w.host)
			serve(t, l, func(in *link.Incoming) {
				_ = in.Refuse(t.Context(), errors.New("pod \x1b[31m is gone\n"+strings.Repeat("ü", 2000)))
			})
			d := link.Dialer{Address: l.Addr(), Security: w.dpu}
			conn, err := d.Dial(t.Context(), podTarget)
			require.NoError(t, err)
			defer conn.Close()
			_, _ = conn.Write(make([]byte, 100)) // what it has sent must not cost it the reason
			for range 2 {
				_, err = conn.Read(make([]byte, 10))
				var refused *link.RefusedError
				require.ErrorAs(t, err, &refused)
				require.Equal(t, l.Addr(), refused.Address)
				require.True(t, strings.HasPrefix(refused.Reason, "pod  [31m is gone üü"), refused.Reason)
				require.LessOrEqual(t, len(refused.Reason), 1024)
			}
		})
	}
}

// TestHandover passes a connection to another process before TLS.
func TestHandover(t *testing.T) {
	for _, w := range ways(t) {
		t.Run(w.name, func(t *testing.T) {
			l := listen(t, w.address(t), w.host)
			done := make(chan error, 1)
			serve(t, l, func(in *link.Incoming) { done <- passOn(t, in, w.dir) })
			d := link.Dialer{Address: l.Addr(), Security: w.dpu}
			checkEcho(t, &d)
			require.NoError(t, <-done)
		})
	}
}

// passOn gives the connection to a process of its own and waits for it.
func passOn(t *testing.T, in *link.Incoming, dir string) error {
	defer in.Close()
	local, remote, err := socketPair()
	if err != nil {
		return err
	}
	defer local.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+dir)
	cmd.ExtraFiles = []*os.File{remote}
	cmd.Stderr = os.Stderr
	err = cmd.Start()
	remote.Close()
	if err != nil {
		return err
	}
	f, err := in.File()
	if err != nil {
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	err = errors.Join(fdpass.Send(local, []byte(in.Target.String()), f), f.Close(), in.Close())
	return errors.Join(err, cmd.Wait())
}

// TestPatience holds that a patient dialer finds a HOST that comes up meanwhile, and that the error of one that never
// does says so, not that time was up.
func TestPatience(t *testing.T) {
	path := t.TempDir() + "/link.sock"
	d := &link.Dialer{Address: link.Address{Scheme: link.SchemeUnix, Path: path}, ConnectTimeout: time.Minute}
	_, err := d.Dial(t.Context(), podTarget)
	require.ErrorContains(t, err, "nothing listens there")
	d.Patient, d.ConnectTimeout = true, 3*time.Second
	_, err = d.Dial(t.Context(), podTarget)
	require.ErrorContains(t, err, "nothing listens there")
	d.ConnectTimeout = time.Minute
	dialled := make(chan error, 1)
	go func() {
		c, err := d.Dial(t.Context(), podTarget)
		if err == nil {
			c.Close()
		}
		dialled <- err
	}()
	time.AfterFunc(30*time.Millisecond, func() {
		l, err := net.Listen("unix", path)
		if err != nil {
			dialled <- err
			return
		}
		defer l.Close()
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}
	})
	require.NoError(t, <-dialled)
}
