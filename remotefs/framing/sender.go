// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package framing

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/container-offload/offload/remotefs/wire"
)

const (
	// inlineData is the most data in bytes that is copied to go with the
	// small frames; more is written from where it is.
	inlineData = 8 << 10
	// keepBuffer is the largest buffer of small frames that is kept for more,
	// in bytes.
	keepBuffer = 256 << 10
)

// Sender writes frames. A small frame is written by who sends it if nobody else
// writes; all others by a goroutine of the Sender's, so that who sends does not
// wait for the connection. Its methods may be called concurrently. It ends with
// Close.
type Sender struct {
	conn net.Conn
	sent atomic.Uint64
	idle chan struct{} // wakes the goroutine; whoever sends on it has cleared asleep

	mu     sync.Mutex
	small  []byte // whole frames, to be written before any of bulk
	spare  []byte
	bulk   []*Bulk
	asleep bool // nobody writes
	err    error
}

// Bulk is a frame whose data is written from where it is.
type Bulk struct {
	head []byte
	data []byte
	done func()
}

// NewSender returns a sender on conn.
func NewSender(conn net.Conn) *Sender {
	s := &Sender{conn: conn, idle: make(chan struct{}, 1), asleep: true}
	go s.run()
	return s
}

// Sent returns the number of bytes written.
func (s *Sender) Sent() uint64 { return s.sent.Load() }

// Body appends the fields of a frame.
type Body func([]byte) []byte

// Send queues a frame with the fields that body appends (nil for none) and
// data. The sizes in h are filled in. done, if set, is called once data is not
// needed any more, whatever becomes of the frame. A frame that is not queued
// whole with its data is returned, for Detach. The error is that of the
// connection.
func (s *Sender) Send(h wire.Header, body Body, data []byte, done func()) (*Bulk, error) {
	return s.send(h, body, data, done, true)
}

// SendLater is Send for who must not wait for the connection even with a small
// frame.
func (s *Sender) SendLater(h wire.Header, body Body, data []byte) error {
	_, err := s.send(h, body, data, nil, false)
	return err
}

func (s *Sender) send(h wire.Header, body Body, data []byte, done func(), now bool) (*Bulk, error) {
	s.mu.Lock()
	if s.err != nil {
		err := s.err
		s.mu.Unlock()
		finish(done)
		return nil, err
	}
	var b *Bulk
	if len(data) <= inlineData {
		s.small = append(appendHead(s.small, h, body, len(data)), data...)
	} else {
		b = &Bulk{head: appendHead(make([]byte, 0, 64), h, body, len(data)), data: data, done: done}
		s.bulk = append(s.bulk, b)
		done = nil
	}
	if s.asleep {
		s.asleep = false
		if b == nil && now {
			s.writeSmallLocked()
		}
		s.restLocked()
	}
	s.mu.Unlock()
	finish(done)
	return b, nil
}

// writeSmallLocked writes the small frames. It lets go of the lock meanwhile.
func (s *Sender) writeSmallLocked() {
	small := s.small
	s.small, s.spare = s.spare, nil
	s.mu.Unlock()
	err := s.write(small, nil)
	s.mu.Lock()
	if cap(small) <= keepBuffer {
		s.spare = small[:0]
	}
	if err != nil {
		s.endLocked(err)
	}
}

// restLocked leaves what is queued to the goroutine.
func (s *Sender) restLocked() {
	if s.err == nil && len(s.small) == 0 && len(s.bulk) == 0 {
		s.asleep = true
		return
	}
	s.idle <- struct{}{}
}

// Detach gives b data of its own, so that the caller's is not needed any more,
// and reports whether it could: not if b is being written.
func (s *Sender) Detach(b *Bulk) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.bulk, b) {
		return false
	}
	b.data = slices.Clone(b.data)
	finish(b.done)
	b.done = nil
	return true
}

// Close ends the sender. What is queued is dropped. It does not close the
// connection, which must be closed if a write may be under way.
func (s *Sender) Close() { s.end(net.ErrClosed) }

func (s *Sender) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(err)
}

func (s *Sender) endLocked(err error) {
	if s.err == nil {
		s.err = err
	}
	for _, b := range s.bulk {
		finish(b.done)
	}
	s.small, s.bulk = nil, nil
	if s.asleep {
		s.asleep = false
		s.idle <- struct{}{}
	}
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

// run writes what is queued until the sender ends: all small frames, then one
// of bulk, then again.
func (s *Sender) run() {
	for range s.idle {
		for {
			small, b, more := s.next()
			if !more {
				break
			}
			var data []byte
			if b != nil {
				small, data = append(small, b.head...), b.data
			}
			err := s.write(small, data)
			if b != nil {
				finish(b.done)
			}
			if err != nil {
				s.end(err)
			}
		}
		if s.ended() {
			return
		}
	}
}

func (s *Sender) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil
}

// next gives what is to be written. If there is nothing it is false, and whoever
// sends next writes.
func (s *Sender) next() (small []byte, b *Bulk, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, nil, false
	}
	if len(s.small) == 0 && len(s.bulk) == 0 {
		s.asleep = true
		return nil, nil, false
	}
	small, s.small = s.small, nil
	if len(s.bulk) > 0 {
		b = s.bulk[0]
		s.bulk = slices.Delete(s.bulk, 0, 1)
	}
	return small, b, true
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
