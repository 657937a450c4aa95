// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package framing

import (
	"net"
	"sync"
	"sync/atomic"

	"github.com/container-offload/offload/remotefs/wire"
)

// inlineData is the most data in bytes that is copied to go with the small
// frames; more is written from where it is.
const inlineData = 8 << 10

// Sender writes frames. Its methods may be called concurrently.
type Sender struct {
	conn net.Conn
	sent atomic.Uint64

	mu      sync.Mutex
	small   []byte // whole frames, to be written before any of bulk
	spare   []byte
	bulk    []bulk
	writing bool
	err     error
}

// bulk is a frame whose data is written from where it is.
type bulk struct {
	head []byte
	data []byte
	done func()
}

// NewSender returns a sender on conn.
func NewSender(conn net.Conn) *Sender { return &Sender{conn: conn} }

// Sent returns the number of bytes written.
func (s *Sender) Sent() uint64 { return s.sent.Load() }

// Body is what has the fields of a frame.
type Body func([]byte) []byte

// Send queues a frame with the fields that body appends (nil for none) and
// data, and writes what is queued unless somebody is writing already. The sizes
// in h are filled in. done, if set, is called once data is not needed any more,
// whatever becomes of the frame. The error is that of the connection.
func (s *Sender) Send(h wire.Header, body Body, data []byte, done func()) error {
	s.mu.Lock()
	if s.err != nil {
		err := s.err
		s.mu.Unlock()
		finish(done)
		return err
	}
	if len(data) <= inlineData {
		s.small = append(appendHead(s.small, h, body, len(data)), data...)
	} else {
		head := appendHead(make([]byte, 0, 64), h, body, len(data))
		s.bulk = append(s.bulk, bulk{head: head, data: data, done: done})
		done = nil
	}
	if s.writing {
		s.mu.Unlock()
		finish(done)
		return nil
	}
	s.writing = true
	s.writeLocked()
	more := s.pendingLocked()
	if !more {
		s.writing = false
	}
	err := s.err
	s.mu.Unlock()
	if more {
		// The rest is others'; whoever called Send has waited enough.
		go s.drain()
	}
	finish(done)
	return err
}

func finish(done func()) {
	if done != nil {
		done()
	}
}

func appendHead(b []byte, h wire.Header, body Body, data int) []byte {
	start := len(b)
	b = h.Append(b)
	if body != nil {
		b = body(b)
	}
	h.Body, h.Data = len(b)-start-wire.HeaderSize, data
	h.Append(b[start:start:cap(b)])
	return b
}

func (s *Sender) pendingLocked() bool { return len(s.small) > 0 || len(s.bulk) > 0 }

func (s *Sender) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.pendingLocked() {
		s.writeLocked()
	}
	s.writing = false
}

// writeLocked writes the small frames and one of bulk. It lets go of the lock
// while it writes.
func (s *Sender) writeLocked() {
	small := s.small
	s.small = s.spare[:0]
	var b bulk
	if len(s.bulk) > 0 {
		b = s.bulk[0]
		s.bulk[0] = bulk{}
		s.bulk = s.bulk[1:]
		if len(s.bulk) == 0 {
			s.bulk = nil
		}
	}
	err := s.err
	s.mu.Unlock()
	if err == nil {
		small = append(small, b.head...)
		err = s.write(small, b.data)
	}
	finish(b.done)
	s.mu.Lock()
	if cap(small) <= 256<<10 {
		s.spare = small[:0]
	}
	if err != nil && s.err == nil {
		s.err = err
	}
}

func (s *Sender) write(small, data []byte) error {
	if len(data) == 0 {
		n, err := s.conn.Write(small)
		s.sent.Add(uint64(n))
		return err
	}
	buffers := net.Buffers{small, data}
	n, err := buffers.WriteTo(s.conn)
	s.sent.Add(uint64(n))
	return err
}
