// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// attachment is a connection while a session uses it.
type attachment struct {
	conn net.Conn
	raw  syscall.RawConn // nil if the connection isn't a plain socket
	rec  recordConn      // nil unless the connection is one

	frames frameReader
	turn   turn
	// interruptible says that a read can be ended by a deadline, so that who waits
	// for a stream may read.
	interruptible bool

	// Arguments and results of one system call, kept here so that calls don't
	// allocate. Reading and writing have their own.
	in     vector
	out    vector
	readv  func(fd uintptr) bool
	writev func(fd uintptr) bool
}

// recordConn is a connection, such as one with TLS, that can gather what it makes
// of several writes, or put it off: see link.
type recordConn interface {
	WriteBuffers(bufs [][]byte) error
	TryWrite(b []byte) (done bool, err error)
	Flush() error
}

// vector is one scattered read or write.
type vector struct {
	bufs [][]byte
	n    int
	err  error
}

func attach(conn net.Conn) *attachment {
	a := &attachment{conn: direct(conn)}
	if rec, ok := a.conn.(recordConn); ok {
		a.rec = rec
	} else if sc, ok := a.conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			a.raw = raw
		}
	}
	a.readv = func(fd uintptr) bool { return a.in.done(unix.Readv(int(fd), a.in.bufs)) }
	a.writev = func(fd uintptr) bool {
		a.out.done(unix.Writev(int(fd), a.out.bufs))
		return true
	}
	a.frames.init(a)
	return a
}

// direct returns the connection that conn has come to be. A connection that did
// something to its first bytes offers the plain one below for the rest.
func direct(conn net.Conn) net.Conn {
	if d, ok := conn.(interface{ Direct() net.Conn }); ok {
		if c := d.Direct(); c != nil {
			return c
		}
	}
	return conn
}

// done keeps a call's result and reports whether the call is over.
func (v *vector) done(n int, err error) bool {
	v.n, v.err = max(n, 0), err
	return err == nil || !isAgain(err)
}

func isAgain(err error) bool { return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) }

// read fills b, or the beginning of it and no more if that is what has arrived.
// What is beyond b goes into more, which may be empty.
func (a *attachment) read(b, more []byte) (int, error) {
	if a.raw == nil || len(more) == 0 {
		return a.conn.Read(b)
	}
	a.in.bufs = append(a.in.bufs[:0], b, more)
	err := a.raw.Read(a.readv)
	clear(a.in.bufs)
	switch {
	case err != nil:
		return 0, err
	case a.in.err != nil:
		return 0, a.in.err
	case a.in.n == 0:
		return 0, io.EOF
	}
	return a.in.n, nil
}

// canTry reports whether tryBatch works on the connection.
func (a *attachment) canTry() bool { return a.raw != nil || a.rec != nil }

// tryBatch writes as much of a batch as the connection takes now, without
// waiting. done says that this was all; otherwise finishTry does the rest.
func (a *attachment) tryBatch(b *batch, size int) (done bool, err error) {
	if a.rec != nil {
		s := b.joined(size)
		defer s.release()
		return a.rec.TryWrite(s.buf)
	}
	b.joinControl()
	n, err := a.tryWrite(b.bufs)
	b.skip = n
	return n == size, err
}

// finishTry writes what tryBatch has left.
func (a *attachment) finishTry(b *batch) error {
	if a.rec != nil {
		return a.rec.Flush()
	}
	rest := b.bufs
	for n := b.skip; n > 0; {
		k := min(n, len(rest[0]))
		if rest[0] = rest[0][k:]; len(rest[0]) == 0 {
			rest = rest[1:]
		}
		n -= k
	}
	return a.write(rest)
}

// tryWrite writes as much of bufs to a plain socket as that takes now, and returns
// how much that is.
func (a *attachment) tryWrite(bufs [][]byte) (int, error) {
	a.out.bufs = bufs
	err := a.raw.Write(a.writev)
	a.out.bufs = nil
	if err != nil {
		return 0, err
	}
	if isAgain(a.out.err) {
		return 0, nil
	}
	return a.out.n, a.out.err
}

// write writes all of bufs, which it uses up.
func (a *attachment) write(bufs [][]byte) error {
	if a.rec != nil {
		return a.rec.WriteBuffers(bufs)
	}
	if a.raw == nil {
		for _, b := range bufs {
			if _, err := a.conn.Write(b); err != nil {
				return err
			}
		}
		return nil
	}
	v := net.Buffers(bufs)
	_, err := v.WriteTo(a.conn)
	return err
}
