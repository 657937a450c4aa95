// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

// coalesce is the size up to which what is to be written is copied together, so
// that it takes one write, and one record of TLS.
const coalesce = 16 << 10

// kickLocked gets what is pending sent.
func (s *Session) kickLocked() {
	if s.core.pending() && !s.writing {
		s.write.Signal()
	}
}

// pushLocked sends what is pending at once if that takes no waiting, so that what
// is small reaches the peer without a change of goroutine. What the connection
// does not take is left to writeLoop.
func (s *Session) pushLocked() {
	a := s.conn
	if s.writing || a == nil || !a.canTry() || s.core.log.unsent() > coalesce || !s.core.pending() {
		s.kickLocked()
		return
	}
	size := s.nextBatchLocked()
	s.mu.Unlock()
	done, err := a.tryBatch(&s.out, size)
	s.mu.Lock()
	if !done && err == nil {
		s.begun = a
		s.write.Signal()
		return
	}
	s.finishBatchLocked(a, err)
	s.kickLocked()
}

// writeLoop writes until the session ends.
func (s *Session) writeLoop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for s.err == nil && s.begun == nil && (s.writing || s.conn == nil || !s.core.pending()) {
			s.write.Wait()
		}
		if s.err != nil {
			return
		}
		var err error
		a := s.begun
		if a != nil {
			s.begun = nil
			s.mu.Unlock()
			err = a.finishTry(&s.out)
		} else {
			a = s.conn
			size := s.nextBatchLocked()
			s.mu.Unlock()
			err = a.writeBatch(&s.out, size)
		}
		s.mu.Lock()
		s.finishBatchLocked(a, err)
	}
}

// nextBatchLocked fills s.out with what is to be written, and returns its size.
func (s *Session) nextBatchLocked() int {
	s.writing = true
	b := &s.out
	b.ctl, b.bufs = s.core.batch(b.ctl[:0], b.bufs[:0], batchBytes)
	n := len(b.ctl)
	for _, p := range b.bufs {
		n += len(p)
	}
	s.stats.SentBytes += uint64(n)
	s.admitLocked()
	return n
}

// finishBatchLocked is called when s.out has been written to a, or could not be.
func (s *Session) finishBatchLocked(a *attachment, err error) {
	s.writing = false
	s.core.sent()
	clear(s.out.bufs)
	if cap(s.out.ctl) > 4<<10 {
		s.out.ctl = nil
	}
	if err != nil {
		s.detachLocked(a, err)
	}
	s.admitLocked()
}

// writeBatch writes a batch of the given size.
func (a *attachment) writeBatch(b *batch, size int) error {
	if len(b.bufs) == 0 {
		_, err := a.conn.Write(b.ctl)
		return err
	}
	if len(b.ctl) == 0 && len(b.bufs) == 1 {
		_, err := a.conn.Write(b.bufs[0])
		return err
	}
	if size <= coalesce {
		return a.writeCoalesced(b, size)
	}
	b.joinControl()
	return a.write(b.bufs)
}

func (a *attachment) writeCoalesced(b *batch, size int) error {
	s := b.joined(size)
	defer s.release()
	_, err := a.conn.Write(s.buf)
	return err
}

// joined returns a copy of all of a batch, which has the given size.
func (b *batch) joined(size int) *segment {
	s := newSegment(size)
	s.buf = append(s.buf, b.ctl...)
	for _, p := range b.bufs {
		s.buf = append(s.buf, p...)
	}
	return s
}

// joinControl puts ctl at the beginning of bufs.
func (b *batch) joinControl() {
	if len(b.ctl) > 0 {
		b.bufs = append(b.bufs, nil)
		copy(b.bufs[1:], b.bufs)
		b.bufs[0] = b.ctl
	}
}

// admitLocked lets as many blocked writers go on as there is room for.
func (s *Session) admitLocked() {
	if len(s.blocked) == 0 {
		return
	}
	room := s.core.room(maxPayload)
	n := 0
	for n < len(s.blocked) && room > 0 {
		st := s.blocked[n]
		st.queued = false
		n++
		if st.waiting { // and has not given up since, or gone on without being admitted
			st.write.Broadcast()
			room -= maxPayload
		}
	}
	s.blocked = s.blocked[:copy(s.blocked, s.blocked[n:])]
	clear(s.blocked[len(s.blocked):cap(s.blocked)])
}
