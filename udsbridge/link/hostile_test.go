// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/link"
)

// patience is more than anything here takes.
const patience = 3 * time.Minute

// plainly returns a preamble without TLS for a target, made by hand.
func plainly(target string) []byte {
	return append([]byte{'O', 'F', 'F', 'L', 0, 1, 0, byte(len(target))}, target...)
}

// dialRaw connects to a listener without the protocol.
func dialRaw(t *testing.T, l *link.Listener) net.Conn {
	t.Helper()
	a := l.Addr()
	network, address := "unix", a.Path
	if a.Scheme == link.SchemeTCP {
		network, address = "tcp", a.String()[len("tcp://"):]
	}
	c, err := net.Dial(network, address)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	return c
}

// TestBadPreamble sends what no dialling side sends.
func TestBadPreamble(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", link.Security{Insecure: true})
	accepted := make(chan link.Target, 1)
	serve(t, l, func(in *link.Incoming) {
		accepted <- in.Target
		in.Close()
	})
	for _, c := range []struct {
		name, sent, answer string
	}{
		{"other protocol", "GET / HTTP/1.1\r\n\r\n", ""},
		{"TLS at once", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ""},
		{"unfinished", "OFFL\x00\x01", ""},
		{"unfinished target", "OFFL\x00\x01\x00\x05age", ""},
		{"version", "OFFL\x00\x02\x00\x05agent", "version 1 of the link's protocol is spoken here, not 2"},
		{"unknown flag", "OFFL\x00\x01\x80\x05agent", "preamble with unknown flags 0x80"},
		{"no target", "OFFL\x00\x01\x00\x00", `target kind "" is neither "agent" nor "shim"`},
		{"too long", "OFFL\x00\x01\x00\xff", "target is 255 bytes, more than 165"},
		{"path", string(plainly("shim/../etc")), `target: namespace ".." is not an identifier (letters and digits, with single '.', '_' or '-' between them)`},
		{"control characters", string(plainly("shim/a/b\x00\n")), `target: id "b\x00\n" is not an identifier (letters and digits, with single '.', '_' or '-' between them)`},
		{"agent that is made", string(plainly("agent?create")), `target "agent": the agent has no namespace and no id, and is not created`},
		{"TLS where there is none", "OFFL\x00\x01\x01\x05agent", "there is no TLS at this address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := dialRaw(t, l)
			_, err := io.WriteString(conn, c.sent)
			require.NoError(t, err)
			// It may be closed already.
			cerr := conn.(*net.TCPConn).CloseWrite()
			answer, err := io.ReadAll(conn)
			if c.answer == "" {
				require.Empty(t, answer)
				require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
				return
			}
			require.NoError(t, errors.Join(cerr, err))
			want := append([]byte{'O', 'F', 'F', 'V', 0, 1, 0, byte(len(c.answer))}, c.answer...)
			require.Equal(t, string(want), string(answer))
		})
	}
	select {
	case target := <-accepted:
		t.Fatalf("Accept returned a connection to %s", target)
	default:
	}
}

// TestNothingBeyondPreamble sends data right behind the preamble.
func TestNothingBeyondPreamble(t *testing.T) {
	l := listen(t, "unix://"+filepath.Join(t.TempDir(), "s"), link.Security{})
	conn := dialRaw(t, l)
	_, err := conn.Write(append(plainly("agent"), "and more"...))
	require.NoError(t, err)
	in, err := l.Accept()
	require.NoError(t, err)
	f, err := in.File()
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, in.Close())
	again, err := link.Handover(f, in.Target, link.Security{})
	require.NoError(t, err)
	taken, err := again.Handshake(t.Context())
	require.NoError(t, err)
	defer taken.Close()
	b := make([]byte, 8)
	_, err = io.ReadFull(taken, b)
	require.NoError(t, err)
	require.Equal(t, "and more", string(b))
}

// TestFlood has more connections than may be pending do nothing, and expects
// others to be served as if they were not there.
func TestFlood(t *testing.T) {
	for _, w := range ways(t) {
		t.Run(w.name, func(t *testing.T) {
			l := listen(t, w.address(t), w.host)
			serve(t, l, func(in *link.Incoming) {
				if conn, err := in.Handshake(t.Context()); err == nil {
					_ = echo(conn)
				}
			})
			d := link.Dialer{Address: l.Addr(), Security: w.dpu}
			// On a busy machine those that do nothing may have been given up before the others had their turn.
			for range 10 {
				if servedDuringFlood(t, l, w.dir != "none", &d) {
					return
				}
			}
			t.Fatal("waited for those that do nothing")
		})
	}
}

// servedDuringFlood has 600 connections that do nothing, and one that is served. It reports whether the younger ones
// of the 600 were still there when that was done, so that it can't have waited for them. The oldest must go.
func servedDuringFlood(t *testing.T, l *link.Listener, secure bool, d *link.Dialer) bool {
	t.Helper()
	idle := make([]net.Conn, 600)
	for i := range idle {
		idle[i] = dialRaw(t, l)
		defer idle[i].Close()
		if i%2 == 0 {
			_, _ = io.WriteString(idle[i], "OFFL\x00")
		} else if secure {
			_, _ = idle[i].Write([]byte("OFFL\x00\x01\x01\x05agent")) // and then no TLS
		}
	}
	checkEchoOf(t, d, 1)
	require.NoError(t, idle[450].SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, err := idle[450].Read(make([]byte, 1))
	served := errors.Is(err, os.ErrDeadlineExceeded)
	_, err = io.ReadAll(idle[0])
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	return served
}

// TestSilent expects a connection without a preamble to be dropped in time.
func TestSilent(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", link.Security{Insecure: true})
	conn := dialRaw(t, l)
	_, err := io.WriteString(conn, "OFF")
	require.NoError(t, err)
	start := time.Now()
	_, err = io.ReadAll(conn)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Greater(t, time.Since(start), 3*time.Second)
}

// TestChangedTarget has somebody on the way change the preamble.
func TestChangedTarget(t *testing.T) {
	w := ways(t)[0]
	l := listen(t, w.address(t), w.host)
	handshake := make(chan error, 1)
	serve(t, l, func(in *link.Incoming) {
		_, err := in.Handshake(t.Context())
		handshake <- err
	})
	between, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer between.Close()
	go func() {
		c, err := between.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b := make([]byte, 8+len(podTarget.String()))
		_, _ = io.ReadFull(c, b)
		onward, err := net.Dial("tcp", l.Addr().String()[len("tcp://"):])
		if err != nil {
			return
		}
		defer onward.Close()
		_, _ = onward.Write(bytes.Replace(b, []byte("pod-1"), []byte("pod-2"), 1))
		go func() { _, _ = io.Copy(onward, c) }()
		_, _ = io.Copy(c, onward)
	}()
	a, err := link.ParseAddress("tcp://" + between.Addr().String())
	require.NoError(t, err)
	d := link.Dialer{Address: a, Security: w.dpu}
	conn, err := d.Dial(t.Context(), podTarget)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1))
	var refused *link.RefusedError
	require.ErrorAs(t, err, &refused)
	require.Contains(t, refused.Reason, "not that of the preamble")
	require.ErrorContains(t, <-handshake, "target inside TLS is not that of the preamble")
}

// TestProtectionMismatch has one side go without TLS.
func TestProtectionMismatch(t *testing.T) {
	w := ways(t)[0]
	insecure := link.Security{Insecure: true}
	t.Run("HOST wants TLS", func(t *testing.T) {
		l := listen(t, w.address(t), w.host)
		d := link.Dialer{Address: l.Addr(), Security: insecure}
		conn, err := d.Dial(t.Context(), podTarget)
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
		var refused *link.RefusedError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, "no connection without TLS is taken here", refused.Reason)
	})
	t.Run("DPU wants TLS", func(t *testing.T) {
		l := listen(t, w.address(t), insecure)
		d := link.Dialer{Address: l.Addr(), Security: w.dpu}
		_, err := d.Dial(t.Context(), podTarget)
		require.ErrorContains(t, err, "refused before TLS, which anybody may have said: there is no TLS at this address")
		require.False(t, errors.As(err, new(*link.RefusedError)), "what is not authenticated is no verdict")
	})
	t.Run("neither is asked for", func(t *testing.T) {
		a := link.Address{Scheme: link.SchemeTCP, Host: "127.0.0.1"}
		_, err := link.Listen(t.Context(), a, link.Security{})
		require.ErrorIs(t, err, link.ErrInsecure)
		_, err = (&link.Dialer{Address: a}).Dial(t.Context(), podTarget)
		require.ErrorIs(t, err, link.ErrInsecure)
	})
	t.Run("handed over", func(t *testing.T) {
		l := listen(t, w.address(t), insecure)
		_, err := dialRaw(t, l).Write(plainly("agent"))
		require.NoError(t, err)
		in, err := l.Accept()
		require.NoError(t, err)
		defer in.Close()
		f, err := in.File()
		require.NoError(t, err)
		defer f.Close()
		_, err = link.Handover(f, in.Target, link.Security{})
		require.ErrorIs(t, err, link.ErrInsecure)
	})
}

// TestNotHost dials others than a HOST.
func TestNotHost(t *testing.T) {
	for _, w := range ways(t)[:2] {
		for _, says := range []string{"SSH-2.0-OpenSSH_9.2p1\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n", "OFFV\x00\x01\x00\x00"} {
			if w.dir == "none" && says[:4] == "OFFV" {
				continue // that is the HOST
			}
			t.Run(w.name+" "+says[:4], func(t *testing.T) {
				a := answering(t, func(c net.Conn) { _, _ = io.WriteString(c, says) })
				d := link.Dialer{Address: a, Security: w.dpu}
				conn, err := d.Dial(t.Context(), podTarget)
				if err == nil {
					defer conn.Close()
					_, err = conn.Read(make([]byte, 1))
				}
				require.ErrorIs(t, err, link.ErrNotHost)
				require.ErrorContains(t, err, a.String())
			})
		}
	}
}

// answering returns the address of something that does f with each connection
// and then waits for its end.
func answering(t *testing.T, f func(net.Conn)) link.Address {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
				_, _ = io.Copy(io.Discard, c)
			}()
		}
	}()
	a, err := link.ParseAddress("tcp://" + l.Addr().String())
	require.NoError(t, err)
	return a
}

func TestNobody(t *testing.T) {
	w := ways(t)[0]
	t.Run("nothing listens", func(t *testing.T) {
		l := listen(t, w.address(t), w.host)
		a := l.Addr()
		require.NoError(t, l.Close())
		_, err := (&link.Dialer{Address: a, Security: w.dpu}).Dial(t.Context(), podTarget)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.ErrorContains(t, err, "connect to shim/k8s.io/pod-1?create: HOST "+a.String()+": nothing listens there")
	})
	t.Run("no socket", func(t *testing.T) {
		a := link.Address{Scheme: link.SchemeUnix, Path: filepath.Join(t.TempDir(), "none")}
		_, err := (&link.Dialer{Address: a}).Dial(t.Context(), podTarget)
		require.ErrorIs(t, err, os.ErrNotExist)
		require.ErrorContains(t, err, "nothing listens there")
	})
	t.Run("no answer", func(t *testing.T) {
		a := answering(t, func(net.Conn) {})
		_, err := (&link.Dialer{Address: a, Security: w.dpu, ConnectTimeout: 100 * time.Millisecond}).Dial(t.Context(), podTarget)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "does not answer")
	})
	t.Run("gave up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a := answering(t, func(net.Conn) { cancel() })
		_, err := (&link.Dialer{Address: a, Security: w.dpu}).Dial(ctx, podTarget)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, "gave up")
	})
	t.Run("cut", func(t *testing.T) {
		a := answering(t, func(c net.Conn) { c.Close() })
		_, err := (&link.Dialer{Address: a, Security: w.dpu}).Dial(t.Context(), podTarget)
		require.ErrorContains(t, err, "cut the connection before it answered")
	})
}

// TestVerdictLater lets a read deadline pass before the verdict comes.
func TestVerdictLater(t *testing.T) {
	release := make(chan struct{})
	a := answering(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "OFFV\x00")
		<-release
		_, _ = io.WriteString(c, "\x01\x00\x00hi")
	})
	conn, err := (&link.Dialer{Address: a, Security: link.Security{Insecure: true}}).Dial(t.Context(), podTarget)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = conn.Read(make([]byte, 2))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	close(release)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	b := make([]byte, 2)
	_, err = io.ReadFull(conn, b)
	require.NoError(t, err)
	require.Equal(t, "hi", string(b))
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "host.sock")
	a := link.Address{Scheme: link.SchemeUnix, Path: path}
	l, err := link.Listen(t.Context(), a, link.Security{})
	require.NoError(t, err)
	fi, err := os.Stat(path)
	require.NoError(t, err)
	require.Zero(t, fi.Mode().Perm()&0o077, "others may connect")

	_, err = link.Listen(t.Context(), a, link.Security{})
	require.ErrorIs(t, err, syscall.EADDRINUSE)

	require.NoError(t, l.Close())
	require.NoFileExists(t, path)
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	require.NoError(t, l.Close())

	dead(t, path)
	l, err = link.Listen(t.Context(), a, link.Security{})
	require.NoError(t, err, "a dead process's socket is replaced")
	// Another has taken the place: it stays.
	require.NoError(t, os.Remove(path))
	dead(t, path)
	require.NoError(t, l.Close())
	_, err = os.Lstat(path)
	require.NoError(t, err)

	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	_, err = link.Listen(t.Context(), a, link.Security{})
	require.ErrorContains(t, err, "is there and is not a socket")
	require.FileExists(t, path)
}

// dead leaves a socket as a process that was killed does.
func dead(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
}

// TestTCPOptions looks at the options of both ends.
func TestTCPOptions(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", link.Security{Insecure: true})
	near, err := (&link.Dialer{Address: l.Addr(), Security: link.Security{Insecure: true}}).Dial(t.Context(), podTarget)
	require.NoError(t, err)
	defer near.Close()
	in, err := l.Accept()
	require.NoError(t, err)
	far, err := in.Handshake(t.Context())
	require.NoError(t, err)
	defer far.Close()
	_, err = far.Write([]byte("x"))
	require.NoError(t, err)
	_, err = near.Read(make([]byte, 1))
	require.NoError(t, err)
	for _, c := range []net.Conn{near, far} {
		raw, err := c.(interface{ Direct() net.Conn }).Direct().(*net.TCPConn).SyscallConn()
		require.NoError(t, err)
		for option, want := range map[[2]int]int{
			{unix.IPPROTO_TCP, unix.TCP_NODELAY}:      1,
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE}:      1,
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}:     10,
			{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT}: 20000,
		} {
			require.NoError(t, raw.Control(func(fd uintptr) {
				got, err := unix.GetsockoptInt(int(fd), option[0], option[1])
				require.NoError(t, err)
				require.Equal(t, want, got, "option %v", option)
			}))
		}
	}
}

// TestVsock needs a kernel that joins vsock sockets of one machine.
func TestVsock(t *testing.T) {
	a, err := link.ParseAddress("vsock://any:17601")
	require.NoError(t, err)
	l, err := link.Listen(t.Context(), a, link.Security{})
	if err != nil {
		t.Skipf("no vsock: %v", err)
	}
	defer l.Close()
	serve(t, l, func(in *link.Incoming) {
		f, err := in.File()
		if err != nil {
			return
		}
		defer f.Close()
		if again, err := link.Handover(f, in.Target, link.Security{}); err == nil {
			in.Close()
			if conn, err := again.Handshake(t.Context()); err == nil {
				_ = echo(conn)
			}
		}
	})
	d := link.Dialer{Address: link.Address{Scheme: link.SchemeVsock, CID: 1, Port: 17601}}
	conn, err := d.Dial(t.Context(), podTarget)
	if err != nil {
		t.Skipf("no vsock loopback in this kernel: %v", err)
	}
	conn.Close()
	checkEcho(t, &d)
}
