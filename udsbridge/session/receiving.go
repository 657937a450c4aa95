// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"
)

var errPeerClosed = errors.New("connection closed by peer")

// isClosed reports whether a connection was lost because the other end has closed it.
func isClosed(err error) bool {
	for _, e := range []error{errPeerClosed, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// receiveLocked takes a frame, if ok, and all that have arrived with it. arrived is how
// many bytes have, and err is what was wrong with them.
func (s *Session) receiveLocked(a *attachment, arrived int, f frame, ok bool, err error) {
	switch {
	case s.conn != a:
		if f.seg != nil {
			f.seg.release()
		}
		return
	case arrived == 0:
		return
	}
	s.lastRead = time.Now()
	s.stats.ReceivedBytes += uint64(arrived)
	s.core.arrived(arrived)
	for ok && err == nil {
		if err = s.core.receive(f.frameHeader, f.payload, f.seg); err == nil {
			f, ok, err = a.frames.next()
		}
	}
	s.dispatchLocked()
	s.admitLocked()
	switch {
	case err != nil:
		s.failLocked(fmt.Errorf("session with %s: %w", s.cfg.Name, err))
		return
	case s.core.bye:
		s.failLocked(fmt.Errorf("%w by %s", ErrClosed, withReason(s.cfg.Name, s.core.byeReason)))
		return
	}
	if s.core.log.kept() == 0 {
		s.notifyLocked()
	}
	s.scheduleAckLocked()
	if w := a.turn.leader; w == nil || !w.woken {
		s.pushLocked()
	} // else who reads has what he waits for, and answers when he has taken it
}

func withReason(name, reason string) string {
	if reason == "" {
		return name
	}
	return name + ": " + reason
}

// scheduleAckLocked makes sure that what has arrived is acknowledged soon.
func (s *Session) scheduleAckLocked() {
	if s.ackArmed || !s.core.ackWaits() {
		return
	}
	s.ackArmed = true
	if s.ackTimer == nil {
		s.ackTimer = time.AfterFunc(ackDelay, s.ackDue)
	} else {
		s.ackTimer.Reset(ackDelay)
	}
}

func (s *Session) ackDue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ackArmed = false
	s.core.ackNow()
	s.kickLocked()
}

// dispatchLocked does what the core's events ask for.
func (s *Session) dispatchLocked() {
	for i, e := range s.core.events {
		s.core.events[i] = event{}
		switch e.kind {
		case eventOpened:
			s.offerLocked(newStream(s, e.flow))
		case eventReadable:
			e.flow.stream.arrivedLocked()
		case eventWritable:
			e.flow.stream.write.Broadcast()
		}
	}
	s.core.events = s.core.events[:0]
	if cap(s.core.events) > 64 {
		s.core.events = nil
	}
}
