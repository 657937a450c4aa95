// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"net"
	"sync"
)

// Listen returns a listener for the streams that the peer opens to a service; its
// Accept returns *Stream. A service has one listener at a time: Listen replaces
// an earlier one, which then is closed. On a session that has ended, and once it
// ends, Accept fails with an error that wraps net.ErrClosed.
func (s *Session) Listen(service string) net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &listener{s: s, service: service}
	l.arrived.L = &s.mu
	if s.err != nil {
		l.closed = true
		return l
	}
	if old := s.listeners[service]; old != nil {
		old.closeLocked()
	}
	if s.listeners == nil {
		s.listeners = make(map[string]*listener)
	}
	s.listeners[service] = l
	l.queue = s.waiting[service]
	delete(s.waiting, service)
	return l
}

// offerLocked gives a stream that the peer has opened to whom it is for.
func (s *Session) offerLocked(st *Stream) {
	service := st.flow.service
	switch l := s.listeners[service]; {
	case l != nil:
		l.queue = append(l.queue, st)
		l.arrived.Signal()
	case s.closing:
		s.resetLocked(st, "session is closing")
	case s.ready:
		s.resetLocked(st, notOffered(service))
	default:
		if s.waiting == nil {
			s.waiting = make(map[string][]*Stream)
		}
		s.waiting[service] = append(s.waiting[service], st)
	}
}

func notOffered(service string) string { return fmt.Sprintf("service %q is not offered", service) }

func (s *Session) closeListenersLocked() {
	for _, l := range s.listeners {
		l.closeLocked()
	}
	s.listeners, s.waiting = nil, nil
}

// listener has the streams of one service that nobody has accepted yet. Their
// number is bounded by Config.MaxStreams, their memory by their windows.
type listener struct {
	s       *Session
	service string

	// All below is protected by s.mu.
	arrived sync.Cond
	queue   []*Stream
	closed  bool
}

// Accept waits for the next stream. It is a *Stream.
func (l *listener) Accept() (net.Conn, error) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	for {
		switch {
		case l.closed && l.s.err != nil:
			return nil, fmt.Errorf("accept stream %q: %w: %w", l.service, l.s.err, net.ErrClosed)
		case l.closed:
			return nil, fmt.Errorf("accept stream %q: %w", l.service, net.ErrClosed)
		case len(l.queue) > 0:
			st := l.queue[0]
			l.queue[0] = nil
			if l.queue = l.queue[1:]; len(l.queue) == 0 {
				l.queue = nil
			}
			return st, nil
		}
		l.arrived.Wait()
	}
}

// Close stops listening and resets the streams that nobody has accepted.
func (l *listener) Close() error {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.s.listeners[l.service] == l {
		delete(l.s.listeners, l.service)
	}
	l.closeLocked()
	l.s.kickLocked()
	return nil
}

func (l *listener) closeLocked() {
	if l.closed {
		return
	}
	l.closed = true
	for _, st := range l.queue {
		l.s.resetLocked(st, notOffered(l.service))
	}
	l.queue = nil
	l.arrived.Broadcast()
}

// Addr returns an address that names this end of the session.
func (l *listener) Addr() net.Addr { return addr("session " + l.s.id.String() + " " + l.service) }

// addr is the address of an end of a session: a text for people.
type addr string

func (addr) Network() string  { return "session" }
func (a addr) String() string { return string(a) }
