// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// halfCloser is a plain socket or TLS upon one.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// dialled is the dialling side of a connection: its first Read begins with the
// verdict.
type dialled struct {
	halfCloser
	address Address

	reading sync.Mutex // one reads the verdict
	begun   []byte     // what has arrived of it
	judged  atomic.Bool
	verdict error // valid if judged
}

func (c *dialled) Read(b []byte) (int, error) {
	if !c.judged.Load() {
		if err := c.readVerdict(); err != nil {
			return 0, err
		}
	}
	if c.verdict != nil {
		return 0, c.verdict
	}
	return c.halfCloser.Read(b)
}

// readVerdict reads the verdict. Its error is one of waiting for it, which may be
// tried again.
func (c *dialled) readVerdict() error {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.judged.Load() {
		return nil
	}
	reason, err := readVerdict(io.MultiReader(bytes.NewReader(c.begun), &recorder{c}))
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return err
	case err != nil:
		c.verdict = describe(c.address, err)
	case reason != "":
		c.verdict = &RefusedError{Address: c.address, Reason: reason}
	}
	c.begun = nil
	c.judged.Store(true)
	return nil
}

// recorder keeps what it reads of a verdict, for another try.
type recorder struct{ c *dialled }

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.c.halfCloser.Read(b)
	r.c.begun = append(r.c.begun, b[:n]...)
	return n, err
}

// Direct returns the connection below once nothing more is done to it.
func (c *dialled) Direct() net.Conn {
	if c.judged.Load() && c.verdict == nil {
		return c.halfCloser
	}
	return nil
}

// taken is the accepting side of a connection: its first Write begins with the
// verdict.
type taken struct {
	halfCloser

	writing sync.Mutex // one writes the verdict
	told    atomic.Bool
	verdict error // of writing the verdict, valid if told
}

func (c *taken) Write(b []byte) (int, error) {
	if c.told.Load() {
		return c.writeOn(b)
	}
	c.writing.Lock()
	if c.told.Load() {
		c.writing.Unlock()
		return c.writeOn(b)
	}
	defer c.writing.Unlock()
	// One write, so that the verdict costs neither a packet nor a system call.
	first := append(append(make([]byte, 0, len(accepted)+len(b)), accepted...), b...)
	n, err := c.halfCloser.Write(first)
	if n < len(accepted) {
		c.verdict = err
	}
	c.told.Store(true)
	return max(n-len(accepted), 0), err
}

func (c *taken) writeOn(b []byte) (int, error) {
	if c.verdict != nil {
		return 0, c.verdict
	}
	return c.halfCloser.Write(b)
}

// CloseWrite ends the outgoing direction.
func (c *taken) CloseWrite() error {
	if !c.told.Load() {
		if _, err := c.Write(nil); err != nil {
			return err
		}
	}
	return c.halfCloser.CloseWrite()
}

// Direct returns the connection below once nothing more is done to it.
func (c *taken) Direct() net.Conn {
	if c.told.Load() && c.verdict == nil {
		return c.halfCloser
	}
	return nil
}

// sniffer looks for a verdict in the clear where TLS is expected: the refusal of
// an accepting side that can't or won't do TLS.
type sniffer struct {
	plainConn
	looked  bool
	head    [4]byte // the first bytes, of which rest are still to be read
	rest    []byte
	refused string
}

func (s *sniffer) Read(b []byte) (int, error) {
	if !s.looked {
		s.looked = true
		if err := s.look(); err != nil {
			return 0, err
		}
	}
	if len(s.rest) > 0 {
		n := copy(b, s.rest)
		s.rest = s.rest[n:]
		return n, nil
	}
	return s.plainConn.Read(b)
}

func (s *sniffer) look() error {
	// Every TLS record is longer.
	if _, err := io.ReadFull(s.plainConn, s.head[:]); err != nil {
		return err
	}
	s.rest = s.head[:]
	if string(s.head[:]) != verdictMagic {
		return nil
	}
	reason, err := readVerdict(io.MultiReader(bytes.NewReader(s.head[:]), s.plainConn))
	if err != nil {
		return err
	}
	if reason == "" {
		return fmt.Errorf("%w: it begins without TLS", errForeign)
	}
	s.refused = reason
	return errRefused
}

var (
	_ halfCloser = (*secured)(nil)
	_ halfCloser = (*dialled)(nil)
	_ halfCloser = (*taken)(nil)
)
