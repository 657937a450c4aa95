// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/network/carrier"
)

// batchSize is how much of what waits in a device is sent at once, in bytes.
const batchSize = 256 << 10

// pieceSize is how many bytes a session's stream keeps together.
const pieceSize = 64 << 10

// past is a deadline that has passed.
var past = time.Unix(1, 0)

var batches = sync.Pool{New: func() any { b := make([]byte, batchSize); return &b }}

type tunnel struct{}

// New returns the carrier.
func New() carrier.Carrier { return tunnel{} }

func (tunnel) Name() string { return carrier.Tunnel }

func (tunnel) Offer(_ context.Context, p carrier.Place) (carrier.Port, carrier.Terms, error) {
	t, err := openTap(p)
	if err != nil {
		return nil, carrier.Terms{}, err
	}
	can := t.supported()
	// Until the HOST has answered, whole frames only.
	if err := t.enable(nil); err != nil {
		t.f.Close()
		return nil, carrier.Terms{}, err
	}
	return &port{tap: t, can: can}, carrier.Terms{Carrier: carrier.Tunnel, Offloads: can}, nil
}

func (tunnel) Accept(_ context.Context, p carrier.Place, offer carrier.Terms) (carrier.Port, carrier.Terms, error) {
	t, err := openTap(p)
	if err != nil {
		return nil, carrier.Terms{}, err
	}
	port := &port{tap: t, can: t.supported()}
	both := slices.DeleteFunc(slices.Clone(port.can), func(name string) bool { return !slices.Contains(offer.Offloads, name) })
	if err := t.enable(both); err != nil {
		t.f.Close()
		return nil, carrier.Terms{}, err
	}
	return port, carrier.Terms{Carrier: carrier.Tunnel, Offloads: both}, nil
}

// port is one end of a tunnel.
type port struct {
	tap    *tap
	can    []string
	closed atomic.Bool
}

func (p *port) Index() int    { return p.tap.index }
func (p *port) Streams() bool { return true }

func (p *port) Close() error {
	p.closed.Store(true)
	return p.tap.f.Close()
}

func (p *port) Agree(t carrier.Terms) error {
	for _, name := range t.Offloads {
		if !slices.Contains(p.can, name) {
			return fmt.Errorf("the HOST has agreed to offload %q, which was not offered", name)
		}
	}
	return p.tap.enable(t.Offloads)
}

// Carry moves frames until the stream or the device ends. It returns nil when
// that was Close's doing.
func (p *port) Carry(conn net.Conn) error {
	sent := make(chan error, 1)
	go func() {
		err := p.send(conn)
		conn.Close() // ends receive
		sent <- err
	}()
	err := p.receive(conn)
	conn.Close()
	// send may wait for the device, which a deadline in the past interrupts.
	_ = p.tap.f.SetReadDeadline(past)
	sendErr := <-sent
	if p.closed.Load() || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return errors.Join(err, ignoreEnd(sendErr))
}

// ignoreEnd leaves out errors that say no more than that something has ended.
func ignoreEnd(err error) error {
	for _, end := range []error{os.ErrDeadlineExceeded, net.ErrClosed, unix.EBADFD} {
		if errors.Is(err, end) {
			return nil
		}
	}
	return err
}

// send puts the device's frames on the stream.
func (p *port) send(conn net.Conn) error {
	raw, err := p.tap.f.SyscallConn()
	if err != nil {
		return err
	}
	for {
		buf, n, err := p.collect(raw)
		if err != nil {
			return err
		}
		err = sendRecords(conn, (*buf)[:n])
		batches.Put(buf)
		if err != nil {
			return fmt.Errorf("send frames: %w", err)
		}
	}
}

// sendRecords writes records in pieces that a stream carries as they are, so
// that the other end has each record in one place and need not put it together.
func sendRecords(conn net.Conn, b []byte) error {
	for len(b) > 0 {
		n := wholeRecords(b, pieceSize)
		if _, err := conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// collect waits for a frame and returns it with those that wait behind it. It
// holds no buffer while it waits.
func (p *port) collect(raw rawConn) (buf *[]byte, n int, err error) {
	var readErr error
	err = raw.Read(func(fd uintptr) bool {
		buf = batches.Get().(*[]byte)
		n, readErr = fill(int(fd), *buf)
		if n == 0 && readErr == nil {
			batches.Put(buf)
			return false
		}
		return true
	})
	if err == nil && n == 0 {
		err = readErr
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read frames of %s: %w", p.tap.f.Name(), err)
	}
	return buf, n, nil
}

// fill reads frames into b as records until there is none or no room for one.
func fill(fd int, b []byte) (n int, err error) {
	for len(b)-n >= maxRecord {
		r, err := unix.Read(fd, b[n+lengthSize:n+maxRecord])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return n, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return n, err
		}
		if r < headerSize+minFrame {
			continue
		}
		binary.LittleEndian.PutUint32(b[n:], uint32(r))
		n += lengthSize + r
	}
	return n, nil
}

// rawConn is the part of [syscall.RawConn] that is used.
type rawConn interface {
	Read(func(fd uintptr) bool) error
	Write(func(fd uintptr) bool) error
}

// receive hands the stream's frames to the device.
func (p *port) receive(conn net.Conn) error {
	raw, err := p.tap.f.SyscallConn()
	if err != nil {
		return err
	}
	w := &deviceWriter{raw: raw}
	w.split.each = w.frame
	defer w.split.drop()
	if _, err := io.Copy(w, conn); err != nil {
		return fmt.Errorf("receive frames: %w", err)
	}
	return nil
}

// deviceWriter writes the records of a stream to a device.
type deviceWriter struct {
	raw   rawConn
	split splitter
	fd    int
}

// Write takes the next bytes of the stream.
func (w *deviceWriter) Write(b []byte) (int, error) {
	var splitErr error
	err := w.raw.Write(func(fd uintptr) bool {
		w.fd = int(fd)
		splitErr = w.split.feed(b)
		return true
	})
	if err == nil {
		err = splitErr
	}
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// frame writes one frame. One that the kernel does not take is dropped: the
// device may be down, or the frame may be nonsense.
func (w *deviceWriter) frame(record []byte) error {
	if !plausible(record) {
		return nil
	}
	if _, err := unix.Write(w.fd, record); errors.Is(err, unix.EBADFD) || errors.Is(err, unix.EBADF) {
		return os.ErrClosed // the namespace has taken the device with it
	}
	return nil
}
