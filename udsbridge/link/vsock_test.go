// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/session"
)

// vsockPatience is more than anything here takes, on a busy machine too.
const vsockPatience = 2 * time.Minute

// guestSocket is what a guest has of a vsock in these tests: each write is a packet
// for the device, and what the device has for the guest is a stream.
type guestSocket struct {
	*net.UnixConn               // out
	in            *net.UnixConn // what is read from
}

func (c *guestSocket) Read(b []byte) (int, error) { return c.in.Read(b) }
func (c *guestSocket) SetDeadline(t time.Time) error {
	return errors.Join(c.UnixConn.SetDeadline(t), c.in.SetDeadline(t))
}
func (c *guestSocket) SetReadDeadline(t time.Time) error { return c.in.SetReadDeadline(t) }
func (c *guestSocket) Close() error                      { return errors.Join(c.UnixConn.Close(), c.in.Close()) }

func (c *guestSocket) SyscallConn() (syscall.RawConn, error) {
	out, err := c.UnixConn.SyscallConn()
	if err != nil {
		return nil, err
	}
	in, err := c.in.SyscallConn()
	return guestRaw{out, in}, err
}

type guestRaw struct{ out, in syscall.RawConn }

func (r guestRaw) Control(f func(uintptr)) error    { return r.out.Control(f) }
func (r guestRaw) Read(f func(uintptr) bool) error  { return r.in.Read(f) }
func (r guestRaw) Write(f func(uintptr) bool) error { return r.out.Write(f) }

// unixPair returns both ends of a socket pair, which are closed with the test.
func unixPair(t *testing.T, kind int) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	require.NoError(t, err)
	for i, to := range []**net.UnixConn{&a, &b} {
		f := os.NewFile(uintptr(fds[i]), "pair")
		c, err := net.FileConn(f)
		f.Close()
		require.NoError(t, err)
		*to = c.(*net.UnixConn)
		t.Cleanup(func() { c.Close() })
	}
	return a, b
}

// device joins two guests as a vsock device with faults does.
type device struct {
	mu      sync.Mutex
	moved   sync.Cond
	since   [2]int // bytes that each guest has sent since the device last had any from the other
	largest int    // packet
	ended   bool
}

// deviceHolds is how much the device takes from a guest before something has to come
// from the other one, in bytes.
const deviceHolds = 64 << 10

// guestPair returns the sockets of two guests that a device joins.
func guestPair(t *testing.T) (a, b plainConn, d *device) {
	t.Helper()
	d = &device{}
	d.moved.L = &d.mu
	var guests [2]plainConn
	var packets, streams [2]*net.UnixConn
	for i := range guests {
		out, fromGuest := unixPair(t, unix.SOCK_SEQPACKET)
		in, toGuest := unixPair(t, unix.SOCK_STREAM)
		guests[i] = &vsockConn{&guestSocket{out, in}}
		packets[i], streams[i] = fromGuest, toGuest
	}
	var carrying sync.WaitGroup
	for i := range guests {
		carrying.Go(func() { d.carry(i, packets[i], streams[1-i]) })
	}
	t.Cleanup(func() {
		d.end()
		for i := range guests {
			packets[i].Close()
			streams[i].Close()
		}
		carrying.Wait()
	})
	return guests[0], guests[1], d
}

// carry passes on what one guest sends.
func (d *device) carry(guest int, from, to *net.UnixConn) {
	defer d.end()
	b := make([]byte, 256<<10)
	for {
		n, err := from.Read(b)
		if err != nil || n == 0 {
			return
		}
		d.mu.Lock()
		d.largest = max(d.largest, n)
		d.since[1-guest] = 0
		d.moved.Broadcast()
		for d.since[guest]+n > deviceHolds && !d.ended {
			d.moved.Wait()
		}
		d.since[guest] += n
		ended := d.ended
		d.mu.Unlock()
		if ended {
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

func (d *device) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	d.moved.Broadcast()
}

// TestVsockPackets holds that what is written at once to a vsock is one packet that
// every device understands, and that nothing of it is lost.
func TestVsockPackets(t *testing.T) {
	for _, size := range []int{0, 1, MaxVsockWrite, MaxVsockWrite + 1, 5*MaxVsockWrite + 7} {
		out, device := unixPair(t, unix.SOCK_SEQPACKET)
		sent := make([]byte, size)
		for i := range sent {
			sent[i] = byte(i >> 8)
		}
		wrote := make(chan error, 1)
		go func() {
			n, err := (&vsockConn{out}).Write(sent)
			if err == nil && n != size {
				err = fmt.Errorf("%d bytes written", n)
			}
			wrote <- errors.Join(err, out.Close())
		}()
		var got []byte
		b := make([]byte, 1<<20)
		require.NoError(t, device.SetDeadline(time.Now().Add(vsockPatience)))
		for len(got) < size {
			n, err := device.Read(b)
			require.NoError(t, err)
			require.LessOrEqual(t, n, MaxVsockWrite)
			got = append(got, b[:n]...)
		}
		require.NoError(t, <-wrote)
		require.True(t, bytes.Equal(got, sent), "%d bytes came out different", size)
	}
}

// TestVsockSession holds that a session moves bulk data between two guests, one way
// and then the other, over a device that understands no large packets and stops
// where nothing comes back.
func TestVsockSession(t *testing.T) {
	a, b, d := guestPair(t)
	ctx, cancel := context.WithTimeout(t.Context(), vsockPatience)
	defer cancel()
	cfg := session.Config{KeepaliveInterval: vsockPatience, DeadAfter: 2 * vsockPatience}
	taken := make(chan *session.Session, 1)
	go func() {
		s, _, err := session.NewAcceptor(cfg).Handle(ctx, b)
		if err != nil {
			t.Error(err)
		}
		taken <- s
	}()
	near, err := session.Dial(ctx, func(context.Context) (net.Conn, error) { return a, nil }, cfg)
	require.NoError(t, err)
	defer near.Abort(errors.New("test is over"))
	far := <-taken
	require.NotNil(t, far)
	defer far.Abort(errors.New("test is over"))
	for _, way := range []struct{ from, to *session.Session }{{near, far}, {far, near}} {
		l := way.to.Listen("bulk")
		out, err := way.from.Open(ctx, "bulk", nil)
		require.NoError(t, err)
		in, err := l.Accept()
		require.NoError(t, err)
		l.Close()
		bulk(t, out, in)
	}
	d.end()
	d.mu.Lock()
	defer d.mu.Unlock()
	require.Positive(t, d.largest)
	require.LessOrEqual(t, d.largest, MaxVsockWrite)
}

// bulk sends 8 MiB, written in pieces of all sizes, and compares what arrives.
func bulk(t *testing.T, out *session.Stream, in net.Conn) {
	t.Helper()
	for _, c := range []net.Conn{out, in} {
		require.NoError(t, c.SetDeadline(time.Now().Add(vsockPatience)))
	}
	sent := make([]byte, 8<<20)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range sent {
		sent[i] = byte(r.Uint32())
	}
	wrote := make(chan error, 1)
	go func() {
		for rest := sent; len(rest) > 0; {
			n := min(1+r.IntN(1<<(1+r.IntN(19))), len(rest))
			if _, err := out.Write(rest[:n]); err != nil {
				wrote <- err
				return
			}
			rest = rest[n:]
		}
		wrote <- out.CloseWrite()
	}()
	got, err := io.ReadAll(in)
	require.NoError(t, err)
	require.NoError(t, <-wrote)
	require.True(t, bytes.Equal(got, sent), "%d bytes came out different", len(sent))
}
