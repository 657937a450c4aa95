// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// turnPause is how long a connection may be read by nobody while whoever read it last
// is likely to come back and to wait for the next answer. With less the timer costs
// more than it saves; more would hold up streams that the peer opens.
const turnPause = time.Millisecond

// turn says who reads a connection: one at a time, and whoever has it does for
// everybody what the frames that arrive ask for.
//
// Who waits for a stream takes the turn, if it is free, and reads until what he waits
// for has come. Then he passes it on, to somebody else who waits. So what arrives for
// the only one who waits costs no change of goroutine. The background reader, which
// every connection has, takes the turn when nobody who waits does: at once if
// something depends on it, and after a pause if it was left by somebody who may
// come back. He, too, passes it on when somebody waits for a stream.
//
// All of it is protected by the session's mu, which is not held during a read.
type turn struct {
	taken  bool
	leader *waiter // who has it, nil for the background reader
	parked bool    // whoever has it is in a read
	hurry  bool    // that read was interrupted

	offered *waiter   // was woken to take the turn, and hasn't run yet
	due     bool      // the background reader is to take it
	wake    sync.Cond // the background reader's

	uses  uint64 // grows with each time it is taken
	seen  uint64 // uses when the timer was set
	pause *time.Timer
	armed bool
}

// waiter is what those wait on who read a stream.
type waiter struct {
	sync.Cond
	waits int32 // how many do, besides one who has the turn
	place int32 // in Session.followers, from 1; 0 if not there
	woken bool  // and hasn't looked yet
}

// wakeLocked makes everybody who waits look again, whoever of them has the turn too.
func (s *Session) wakeLocked(w *waiter) {
	leads := s.conn != nil && s.conn.turn.leader == w
	if w.woken = leads || w.waits > 0; !w.woken {
		return
	}
	w.Broadcast()
	if leads {
		s.conn.interruptLocked()
	}
}

// waitLocked returns when something may have changed for w: because it was woken, or
// because it has read the connection once. Whoever has called it calls passLocked
// when he has what he waits for.
func (s *Session) waitLocked(w *waiter) {
	if a := s.conn; a != nil && !a.turn.taken && a.interruptible {
		s.takeLocked(a, w)
		s.readLocked(a)
		w.woken = false
		return
	}
	s.followLocked(w)
	w.Wait()
	s.unfollowLocked(w)
}

func (s *Session) followLocked(w *waiter) {
	if w.waits++; w.waits == 1 {
		s.followers = append(s.followers, w)
		w.place = int32(len(s.followers))
	}
}

func (s *Session) unfollowLocked(w *waiter) {
	w.woken = false
	if a := s.conn; a != nil && a.turn.offered == w {
		a.turn.offered = nil
	}
	if w.waits--; w.waits > 0 {
		return
	}
	last := len(s.followers) - 1
	moved := s.followers[last]
	s.followers[w.place-1], moved.place = moved, w.place
	w.place = 0
	s.followers[last] = nil
	s.followers = s.followers[:last]
	if last == 0 && cap(s.followers) > 16 {
		s.followers = nil
	}
}

func (s *Session) takeLocked(a *attachment, w *waiter) {
	t := &a.turn
	t.taken, t.leader, t.due = true, w, false
	t.uses++
}

// passLocked sees to it that somebody reads, unless somebody does.
func (s *Session) passLocked() {
	a := s.conn
	if a == nil || a.turn.taken || a.turn.due {
		return
	}
	t := &a.turn
	if t.offered == nil {
		t.offered = s.idleFollowerLocked(a)
		if t.offered != nil {
			s.wakeLocked(t.offered)
		} else if s.urgent > 0 {
			s.callBackgroundLocked(a)
			return
		}
	}
	// He who was woken, or has just got what he waited for, may not come.
	s.armLocked(a)
}

// idleFollowerLocked returns somebody who waits and isn't about to look already.
func (s *Session) idleFollowerLocked(a *attachment) *waiter {
	if !a.interruptible {
		return nil
	}
	for i := len(s.followers) - 1; i >= 0; i-- {
		if w := s.followers[i]; !w.woken {
			return w
		}
	}
	return nil
}

func (s *Session) callBackgroundLocked(a *attachment) {
	a.turn.due = true
	a.turn.wake.Signal()
}

func (s *Session) armLocked(a *attachment) {
	t := &a.turn
	if t.armed {
		return
	}
	t.armed, t.seen = true, t.uses
	if t.pause == nil {
		t.pause = time.AfterFunc(s.turnPause, func() { s.turnIsFree(a) })
	} else {
		t.pause.Reset(s.turnPause)
	}
}

// turnIsFree has the background reader take a turn that nobody took for a while.
func (s *Session) turnIsFree(a *attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &a.turn
	t.armed = false
	switch {
	case s.conn != a || t.taken || t.due:
	case t.uses != t.seen:
		s.armLocked(a)
	default:
		s.callBackgroundLocked(a)
	}
}

// interruptLocked ends the read that is in progress, if there is one, without harm to
// the connection.
func (a *attachment) interruptLocked() {
	if t := &a.turn; t.parked && !t.hurry {
		t.hurry = true
		_ = a.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// readLoop is the background reader of a connection, until that is lost.
func (s *Session) readLoop(a *attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &a.turn
	for s.conn == a {
		if t.taken || !t.due {
			t.wake.Wait()
			continue
		}
		s.takeLocked(a, nil)
		s.readLocked(a)
		if len(s.followers) > 0 && a.interruptible {
			s.passLocked()
		} else {
			t.due = true
		}
	}
}

// readLocked reads from a connection until a frame is there, and does what it and all
// that have come with it ask for. The caller has the turn, and has it no more after.
func (s *Session) readLocked(a *attachment) {
	t := &a.turn
	t.parked = true
	s.mu.Unlock()
	arrived, f, ok, ferr, err := a.frames.readFrame()
	s.mu.Lock()
	t.parked = false
	if t.hurry {
		t.hurry = false
		_ = a.conn.SetReadDeadline(time.Time{})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
		}
	}
	s.receiveLocked(a, arrived, f, ok, ferr)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errPeerClosed
		}
		s.detachLocked(a, err)
	}
	t.taken, t.leader = false, nil
	if s.conn != a {
		a.frames.close()
	}
}

// readFrame reads until a frame has arrived whole, or so much that the peer should
// hear of it. ferr is an error of the frame, err one of the connection.
func (fr *frameReader) readFrame() (arrived int, f frame, ok bool, ferr, err error) {
	for arrived < ackEvery && !ok && ferr == nil {
		n, err := fr.read()
		if err != nil {
			return arrived, frame{}, false, nil, err
		}
		arrived += n
		f, ok, ferr = fr.next()
	}
	return arrived, f, ok, ferr, nil
}
