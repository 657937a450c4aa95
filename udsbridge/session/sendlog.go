// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

// sendLog is the outgoing reliable sequence from the first byte that the peer has
// not acknowledged: frames, encoded, in order. Bytes are numbered from the
// beginning of the session.
//
//	acked ≤ sent ≤ highest ≤ end
//	|← kept, for sending again →|
//
// A segment has whole frames only. Memory that a connection is being written from
// is not released, even if the peer acknowledges it faster than the write
// returns: see pin.
type sendLog struct {
	segs []*segment
	// first is the number of the first byte in segs; skip is how many from there
	// are acknowledged.
	first uint64
	skip  int
	acked uint64
	end   uint64

	// sent is what the present connection has been given, a place in segs:
	// sentSeg is an index, sentOff an offset there.
	sent    uint64
	sentSeg int
	sentOff int
	highest uint64 // the greatest sent of all connections

	pinned bool
	pinAt  uint64
}

// kept is how many bytes wait for acknowledgement, unsent ones included.
func (l *sendLog) kept() int { return int(l.end - l.acked) }

// unsent is how many bytes the present connection has not been given.
func (l *sendLog) unsent() int { return int(l.end - l.sent) }

// extend adds n bytes, which must become whole frames, and returns them to be
// filled at once.
func (l *sendLog) extend(n int) []byte {
	l.end += uint64(n)
	if i := len(l.segs); i > 0 && l.segs[i-1].room() >= n {
		return l.segs[i-1].grow(n)
	}
	size := n
	if i := len(l.segs); i > 0 {
		// A log that grows by small frames gets larger and larger segments.
		size = max(n, min(2*cap(l.segs[i-1].buf), 16<<10))
	}
	s := newSegment(size)
	l.push(s)
	return s.grow(n)
}

// add adds a segment of whole frames, which is the log's from then on.
func (l *sendLog) add(s *segment) {
	l.end += uint64(len(s.buf))
	l.push(s)
}

func (l *sendLog) push(s *segment) {
	// The place to send from moves on past the end of a segment that is sent.
	if l.sentSeg < len(l.segs) && l.sentOff == len(l.segs[l.sentSeg].buf) {
		l.sentSeg, l.sentOff = l.sentSeg+1, 0
	}
	l.segs = append(l.segs, s)
}

// next appends to dst up to limit bytes that the present connection has not been
// given, at least a segment's rest, and counts them as sent.
func (l *sendLog) next(dst [][]byte, limit int) [][]byte {
	for l.sent < l.end && limit > 0 {
		seg := l.segs[l.sentSeg]
		b := seg.buf[l.sentOff:]
		if len(b) == 0 {
			l.sentSeg, l.sentOff = l.sentSeg+1, 0
			continue
		}
		dst = append(dst, b)
		limit -= len(b)
		l.sent += uint64(len(b))
		l.sentOff += len(b)
	}
	l.highest = max(l.highest, l.sent)
	return dst
}

// pin keeps what next is about to return from being released until unpin.
func (l *sendLog) pin() { l.pinned, l.pinAt = true, l.sent }

func (l *sendLog) unpin() {
	l.pinned = false
	l.release()
}

// ack drops what the peer has received on the present connection, n bytes since
// the beginning.
func (l *sendLog) ack(n uint64) error {
	switch {
	case n < l.acked:
		return violation("%d bytes acknowledged after %d", n, l.acked)
	case n > l.sent:
		return violation("%d bytes acknowledged of %d sent", n, l.sent)
	}
	return l.walk(n)
}

// walk advances acked to n frame by frame.
func (l *sendLog) walk(n uint64) error {
	seg, off := 0, l.skip
	for at := l.acked; at < n; {
		b := l.segs[seg].buf
		if off >= len(b) {
			seg, off = seg+1, off-len(b)
			continue
		}
		h, err := parseHeader(b[off:])
		if err != nil {
			return err
		}
		if at += uint64(h.size()); at > n {
			return violation("%d bytes acknowledged, which is within a frame", n)
		}
		off += h.size()
	}
	l.acked = n
	l.skip = int(l.acked - l.first)
	l.release()
	return nil
}

// release gives back the segments that nobody needs.
func (l *sendLog) release() {
	limit := l.acked
	if l.pinned {
		limit = min(limit, l.pinAt)
	}
	n := 0
	for n < len(l.segs) && l.first+uint64(len(l.segs[n].buf)) <= limit {
		l.first += uint64(len(l.segs[n].buf))
		l.segs[n].release()
		l.segs[n] = nil
		n++
	}
	if n == 0 {
		return
	}
	l.segs = l.segs[:copy(l.segs, l.segs[n:])]
	clear(l.segs[len(l.segs):cap(l.segs)])
	if l.sentSeg -= n; l.sentSeg < 0 {
		l.sentSeg, l.sentOff = 0, 0
	}
	if len(l.segs) == 0 {
		if cap(l.segs) > 16 {
			l.segs = nil
		}
		l.sentSeg, l.sentOff = 0, 0
	}
	l.skip = int(l.acked - l.first)
}

// rewind prepares for a new connection, whose peer has received n bytes.
func (l *sendLog) rewind(n uint64) error {
	if n < l.acked || n > l.highest {
		return violation("%d bytes received, of which %d were acknowledged and %d sent", n, l.acked, l.highest)
	}
	if err := l.walk(n); err != nil {
		return err
	}
	l.sent = n
	at := l.first
	l.sentSeg, l.sentOff = 0, 0
	// Not past the last segment, which extend may still add to. It is there, with
	// nothing in it to send, when a write in progress pins it.
	for l.sentSeg+1 < len(l.segs) && at+uint64(len(l.segs[l.sentSeg].buf)) <= n {
		at += uint64(len(l.segs[l.sentSeg].buf))
		l.sentSeg++
	}
	l.sentOff = int(n - at)
	return nil
}

// drop gives back everything. A pinned log keeps its memory to the collector.
func (l *sendLog) drop() {
	if !l.pinned {
		for _, s := range l.segs {
			s.release()
		}
	}
	*l = sendLog{end: l.end, first: l.end, acked: l.end, sent: l.end, highest: l.end}
}
