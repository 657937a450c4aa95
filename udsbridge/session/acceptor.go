// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// lingerTimeout bounds how long a refused peer may take to hang up.
const lingerTimeout = time.Second

// Acceptor is the accepting end of sessions. Its methods may be called
// concurrently.
type Acceptor struct {
	cfg Config

	mu       sync.Mutex
	sessions map[sessionID]*Session
}

// NewAcceptor returns an acceptor whose sessions behave as cfg says.
func NewAcceptor(cfg Config) *Acceptor {
	return &Acceptor{cfg: cfg.withDefaults(), sessions: make(map[sessionID]*Session)}
}

// refusal is a reason not to take a connection.
type refusal struct {
	code   answerCode
	reason string
}

func (r *refusal) Error() string { return r.reason }

// Handle takes a connection, which is the acceptor's from then on. If it begins a
// session, Handle returns that and true. If it resumes one, Handle attaches it
// and returns that session and false. Otherwise the dialling end is told why not
// and the connection is closed. Handle blocks until the peer has said which, ten
// seconds at most, or until ctx ends.
func (a *Acceptor) Handle(ctx context.Context, conn net.Conn) (s *Session, fresh bool, err error) {
	err = within(ctx, conn, func() error {
		h, err := readHello(conn)
		if err != nil {
			return refuseHello(conn, err)
		}
		if fresh = h.id == (sessionID{}); fresh {
			s, err = a.begin(conn, h)
		} else {
			s, err = a.resume(conn, h)
		}
		var r *refusal
		if errors.As(err, &r) {
			refuse(conn, r)
		}
		return err
	})
	if err != nil {
		conn.Close()
		return nil, false, fmt.Errorf("take connection of %s: %w", a.cfg.Name, err)
	}
	return s, fresh, nil
}

// refuseHello answers a hello that can't be understood.
func refuseHello(conn net.Conn, err error) error {
	var v *errVersion
	if errors.As(err, &v) {
		refuse(conn, &refusal{codeVersion, fmt.Sprintf("it speaks version %d of the session protocol, not %d", version, v.theirs)})
	}
	return err
}

// refuse tells the peer why and lets it hang up first: closing a socket with
// unread data would take the answer away from it.
func refuse(conn net.Conn, r *refusal) {
	if _, err := conn.Write(answer{code: r.code, reason: r.reason}.encode()); err != nil {
		return
	}
	if cw, ok := conn.(interface{ CloseWrite() error }); ok && cw.CloseWrite() == nil {
		_ = conn.SetReadDeadline(time.Now().Add(lingerTimeout))
		_, _ = io.Copy(io.Discard, io.LimitReader(conn, maxPayload))
	}
}

// begin makes a session.
func (a *Acceptor) begin(conn net.Conn, h hello) (*Session, error) {
	var id sessionID
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("make session id: %w", err)
	}
	s := newSession(a.cfg, id, false)
	s.onEnd = func() { a.forget(id) }
	a.mu.Lock()
	a.sessions[id] = s
	a.mu.Unlock()
	if err := s.accept(conn, h); err != nil {
		s.mu.Lock()
		s.failLocked(err)
		s.mu.Unlock()
		return nil, err
	}
	return s, nil
}

// resume finds the session that a connection belongs to.
func (a *Acceptor) resume(conn net.Conn, h hello) (*Session, error) {
	a.mu.Lock()
	s := a.sessions[h.id]
	a.mu.Unlock()
	if s == nil {
		return nil, errUnknown(h.id)
	}
	return s, s.accept(conn, h)
}

func errUnknown(id sessionID) error {
	return &refusal{codeRefused, fmt.Sprintf("it does not know session %s: it was restarted since, or has given the session up", id)}
}

func (a *Acceptor) forget(id sessionID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.sessions, id)
}

// accept answers a hello and goes on with the session on that connection.
func (s *Session) accept(conn net.Conn, h hello) error {
	ans, err := s.claim(h)
	if err != nil {
		return err
	}
	if _, err := conn.Write(ans.encode()); err != nil {
		return fmt.Errorf("answer hello: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if s.attempt != h.attempt {
		return errors.New("a later connection has come meanwhile")
	}
	at, err := s.attachLocked(conn, h.terms)
	if err != nil {
		return err
	}
	if s.grace == nil {
		s.start()
	}
	go s.readLoop(at)
	return nil
}

// claim drops the connection the session has, so that what it has received is
// settled, and returns the answer to a hello.
func (s *Session) claim(h hello) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return answer{}, errUnknown(s.id)
	}
	if h.attempt <= s.attempt {
		return answer{}, &refusal{codeStale, "a later connection of the session is there"}
	}
	s.attempt = h.attempt
	if s.conn != nil {
		s.detachLocked(s.conn, errors.New("replaced by another connection"))
	}
	return answer{code: codeAccepted, id: s.id, terms: s.terms()}, nil
}
