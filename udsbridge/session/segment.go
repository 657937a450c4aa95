// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"math/bits"
	"sync"
)

const (
	minClass = 9  // 512 bytes
	maxClass = 16 // 64 KiB

	// classSlack lets a full payload and its header fit into the largest class.
	classSlack = 2 * headerSize
)

// segment is a piece of memory from the pool. Its bytes in use are buf.
type segment struct {
	buf   []byte
	class int
}

// pools has memory nobody uses, by size. It is a cache, given back to the runtime
// when it is not used.
var pools [maxClass + 1]sync.Pool

// newSegment returns an empty segment with room for n bytes, at most maxPayload
// plus a header, and for less than twice as many.
func newSegment(n int) *segment {
	class := minClass
	if n > 1<<minClass+classSlack {
		class = bits.Len(uint(n - classSlack - 1))
	}
	if s, ok := pools[class].Get().(*segment); ok {
		s.buf = s.buf[:0]
		return s
	}
	return &segment{buf: make([]byte, 0, 1<<class+classSlack), class: class}
}

// release gives the memory back. Nobody may use it any more.
func (s *segment) release() { pools[s.class].Put(s) }

// room is how many bytes can still be added.
func (s *segment) room() int { return cap(s.buf) - len(s.buf) }

// grow adds n bytes and returns them to be filled.
func (s *segment) grow(n int) []byte {
	at := len(s.buf)
	s.buf = s.buf[:at+n]
	return s.buf[at:]
}

// newDataFrame returns a segment that is one DATA frame with room for n bytes of
// payload, and that payload.
func newDataFrame(stream uint32, n int) (*segment, []byte) {
	s := newSegment(headerSize + n)
	b := s.grow(headerSize + n)
	frameHeader{frameData, n, stream}.put(b)
	return s, b[headerSize:]
}
