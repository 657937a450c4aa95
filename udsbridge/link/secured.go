// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// holdBytes is how much of what TLS makes may be held for one system call. What is
// more goes out while TLS makes the next, so that the peer has something to do.
const holdBytes = 16 << 10

// buffers has memory for what is held, which no connection keeps while it is idle.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 2*holdBytes)
	return &b
}}

// secured is TLS on a socket. TLS by itself makes a system call for each record,
// however small; this makes one for several small ones.
type secured struct {
	*tls.Conn
	below   *records
	writing sync.Mutex
}

// newClient and newServer return the two ends before their handshake. in is what
// is read from, conn or something upon it.
func newClient(conn plainConn, in io.Reader, c *tls.Config) *secured {
	below := &records{plainConn: conn, in: in}
	return &secured{Conn: tls.Client(below, c), below: below}
}

func newServer(conn plainConn, c *tls.Config) *secured {
	below := &records{plainConn: conn, in: conn}
	return &secured{Conn: tls.Server(below, c), below: below}
}

// Write writes b as net.Conn describes.
func (c *secured) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.below.hold()
	n, err := c.Conn.Write(b)
	if ferr := c.below.flush(); err == nil && ferr != nil {
		return 0, ferr
	}
	return n, err
}

// WriteBuffers writes all of bufs.
func (c *secured) WriteBuffers(bufs [][]byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.below.hold()
	for _, b := range bufs {
		if _, err := c.Conn.Write(b); err != nil {
			return err
		}
	}
	return c.below.flush()
}

// TryWrite takes all of b, which is at most 16 KiB, but sends no more of it than
// the socket takes without waiting. done says that this was all; if it wasn't,
// the next write of any kind sends the rest first, as Flush does.
func (c *secured) TryWrite(b []byte) (done bool, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.below.hold()
	if _, err := c.Conn.Write(b); err != nil {
		return false, err
	}
	return c.below.tryFlush()
}

// Flush sends what TryWrite has left.
func (c *secured) Flush() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.below.flush()
}

// CloseWrite ends the outgoing direction.
func (c *secured) CloseWrite() error {
	if err := c.Flush(); err != nil {
		return err
	}
	return c.Conn.CloseWrite()
}

// records is the socket as TLS sees it.
type records struct {
	plainConn

	mu      sync.Mutex
	holding bool
	out     *[]byte // what is held, nil if nothing
	sent    int     // of out

	in io.Reader // what is read from
}

// hold gathers what is written until flush.
func (c *records) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = true
}

// Write is called by TLS for what it makes, records of data and others.
func (c *records) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holding && c.held()+len(b) < holdBytes {
		if c.out == nil {
			c.out = buffers.Get().(*[]byte)
		}
		*c.out = append(*c.out, b...)
		return len(b), nil
	}
	if c.out == nil {
		return c.plainConn.Write(b)
	}
	both := net.Buffers{(*c.out)[c.sent:], b}
	if _, err := both.WriteTo(c.plainConn); err != nil {
		return 0, err
	}
	c.releaseLocked()
	return len(b), nil
}

func (c *records) held() int {
	if c.out == nil {
		return 0
	}
	return len(*c.out)
}

func (c *records) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = false
	return c.flushLocked()
}

func (c *records) flushLocked() error {
	if c.out == nil {
		return nil
	}
	n, err := c.plainConn.Write((*c.out)[c.sent:])
	c.sent += n
	if err == nil {
		c.releaseLocked()
	}
	return err
}

// tryFlush sends what the socket takes and reports whether this was all.
func (c *records) tryFlush() (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = false
	if c.out == nil {
		return true, nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false, err
	}
	var n int
	var werr error
	err = raw.Write(func(fd uintptr) bool {
		n, werr = unix.Write(int(fd), (*c.out)[c.sent:])
		return true
	})
	switch {
	case err != nil:
		return false, err
	case errors.Is(werr, syscall.EAGAIN) || errors.Is(werr, syscall.EINTR):
		return false, nil
	case werr != nil:
		return false, werr
	}
	if c.sent += n; c.sent < len(*c.out) {
		return false, nil
	}
	c.releaseLocked()
	return true, nil
}

func (c *records) releaseLocked() {
	*c.out = (*c.out)[:0]
	buffers.Put(c.out)
	c.out, c.sent = nil, 0
}

// Read is called by TLS.
func (c *records) Read(b []byte) (int, error) { return c.in.Read(b) }
