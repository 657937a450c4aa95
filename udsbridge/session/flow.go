// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"syscall"
)

// flow is the protocol's view of a stream.
type flow struct {
	id      uint32
	service string
	header  []byte
	stream  *Stream // the shell's; the core doesn't look into it

	// Outgoing.
	credit  int  // bytes the peer still takes
	finSent bool // nothing more may be sent
	stopped bool // the peer wants nothing more

	// Incoming.
	queue    recvQueue
	owed     int  // bytes the peer may still send
	window   int  // what owed is brought up to as the queue is read
	consumed int  // bytes read since the peer was last given credit
	finRcvd  bool // nothing more comes
	unwanted bool // what comes is dropped; the peer was told, or the stream is closed

	gone bool  // both directions have ended, or the stream was reset
	err  error // the end of a stream that was reset or lost its session
}

// recvQueue is what has arrived of a stream and has not been read.
type recvQueue struct {
	segs []*segment
	off  int // bytes of segs[0] that were read
	size int // bytes unread
}

// smallPayload is the size up to which a payload is copied to join others in a
// segment; a larger one has a segment of its own.
const smallPayload = 2 << 10

// add appends a copy of a small payload.
func (q *recvQueue) add(p []byte) {
	q.size += len(p)
	if i := len(q.segs); i > 0 && q.segs[i-1].room() >= len(p) {
		copy(q.segs[i-1].grow(len(p)), p)
		return
	}
	size := len(p)
	if len(q.segs) > 0 {
		size = max(size, 4<<10)
	}
	s := newSegment(size)
	copy(s.grow(len(p)), p)
	q.segs = append(q.segs, s)
}

// take appends a segment, which is the queue's from then on.
func (q *recvQueue) take(s *segment) {
	q.size += len(s.buf)
	q.segs = append(q.segs, s)
}

// view appends to dst slices of the first n unread bytes, or of all if there are
// fewer. They are good until they are consumed.
func (q *recvQueue) view(dst [][]byte, n int) [][]byte {
	off := q.off
	for _, s := range q.segs {
		if n <= 0 {
			break
		}
		b := s.buf[off:]
		off = 0
		if len(b) > n {
			b = b[:n]
		}
		if len(b) > 0 {
			dst = append(dst, b)
		}
		n -= len(b)
	}
	return dst
}

// consume drops the first n unread bytes.
func (q *recvQueue) consume(n int) {
	q.size -= n
	n += q.off
	done := 0
	for done < len(q.segs) && n >= len(q.segs[done].buf) {
		n -= len(q.segs[done].buf)
		q.segs[done].release()
		q.segs[done] = nil
		done++
	}
	q.off = n
	if done > 0 {
		q.segs = q.segs[:copy(q.segs, q.segs[done:])]
		clear(q.segs[len(q.segs):cap(q.segs)])
	}
	if len(q.segs) == 0 && cap(q.segs) > 4 {
		q.segs = nil
	}
}

// drop forgets everything.
func (q *recvQueue) drop() {
	for _, s := range q.segs {
		s.release()
	}
	*q = recvQueue{}
}

// writeError is why nothing can be written to the stream, or nil.
func (f *flow) writeError() error {
	switch {
	case f.err != nil:
		return f.err
	case f.stopped:
		return fmt.Errorf("stream %q: closed by peer: %w", f.service, syscall.EPIPE)
	default:
		return nil
	}
}
