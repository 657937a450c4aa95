// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"
	"io"
)

// Write writes as net.Conn describes. It returns once p is on its way: errors of
// the link show later.
func (st *Stream) Write(p []byte) (int, error) {
	s := st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := st.beginWriteLocked(); err != nil {
		return 0, err
	}
	defer st.endWriteLocked()
	if len(p) == 0 {
		return 0, st.writableLocked()
	}
	total := 0
	for len(p) > 0 {
		n, err := st.awaitRoomLocked(len(p))
		if err != nil {
			return total, err
		}
		if n <= smallPayload {
			s.core.send(st.flow, p[:n])
		} else if err := st.sendLocked(p[:n]); err != nil {
			return total, err
		}
		s.pushLocked()
		total += n
		p = p[n:]
	}
	return total, nil
}

// sendLocked sends a large payload, which it copies without the lock.
func (st *Stream) sendLocked(p []byte) error {
	s, f := st.s, st.flow
	f.credit -= len(p)
	s.core.reserved += len(p)
	s.mu.Unlock()
	seg, payload := newDataFrame(f.id, len(p))
	copy(payload, p)
	s.mu.Lock()
	s.core.reserved -= len(p)
	if !s.core.sendSegment(f, seg) {
		s.admitLocked()
		return st.writableLocked()
	}
	return nil
}

// beginWriteLocked waits until nobody else writes.
func (st *Stream) beginWriteLocked() error {
	for {
		if err := st.writableLocked(); err != nil {
			return err
		}
		if !st.busy {
			st.busy = true
			return nil
		}
		st.write.Wait()
	}
}

func (st *Stream) endWriteLocked() {
	st.busy = false
	st.write.Broadcast()
}

// writableLocked returns why nothing can be written, or nil.
func (st *Stream) writableLocked() error {
	switch {
	case st.writeClosed:
		return st.errClosed("write to")
	case st.writeBy.expired:
		return st.errDeadline("write to")
	default:
		return st.flow.writeError()
	}
}

// awaitRoomLocked waits until some of n bytes can be sent and returns how many.
func (st *Stream) awaitRoomLocked(n int) (int, error) {
	s, f := st.s, st.flow
	n = min(n, maxPayload-headerSize)
	for {
		if err := st.writableLocked(); err != nil {
			return 0, err
		}
		room := s.core.room(n)
		if f.credit > 0 && room > 0 {
			return min(n, f.credit, max(room, smallPayload)), nil
		}
		if f.credit > 0 && !st.queued {
			st.queued = true
			s.blocked = append(s.blocked, st)
		}
		st.waiting = true
		s.urgent++
		s.passLocked()
		st.write.Wait()
		s.urgent--
		st.waiting = false
	}
}

// ReadFrom writes what r has to the stream until r ends.
func (st *Stream) ReadFrom(r io.Reader) (int64, error) {
	var total int64
	size := smallPayload
	buf := make([]byte, size)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			w, werr := st.Write(buf[:n])
			total += int64(w)
			if werr != nil {
				return total, werr
			}
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		if n == size && size < maxPayload {
			size *= 4
			buf = make([]byte, size)
		}
	}
}
