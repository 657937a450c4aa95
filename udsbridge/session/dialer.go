// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// Bounds of the pause between attempts to connect again.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// Dial begins a session over a connection that dial makes, and returns when the
// peer has taken it. If that first connection can't be made, Dial fails at once
// with dial's error. Later connections, with which the session resumes, are made
// in the background by the same function, until the session ends; ctx is for
// Dial only.
func Dial(ctx context.Context, dial func(context.Context) (net.Conn, error), cfg Config) (*Session, error) {
	s := newSession(cfg.withDefaults(), sessionID{}, true)
	conn, ans, err := s.connect(ctx, dial)
	if err != nil {
		s.cancel()
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id = ans.id
	a, err := s.attachLocked(conn, ans.terms)
	if err != nil {
		conn.Close()
		return nil, err
	}
	s.start()
	go s.keepConnected(a, dial)
	return s, nil
}

// connect makes a connection and says hello on it.
func (s *Session) connect(ctx context.Context, dial func(context.Context) (net.Conn, error)) (net.Conn, answer, error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, answer{}, err
	}
	s.mu.Lock()
	s.attempt++
	h := hello{id: s.id, attempt: s.attempt, terms: s.terms()}
	s.mu.Unlock()
	var ans answer
	err = within(ctx, conn, func() error {
		if _, err := conn.Write(h.encode()); err != nil {
			// The reason may be waiting to be read.
			if _, readErr := readAnswer(conn); readErr != nil && !errors.Is(readErr, io.EOF) {
				return readErr
			}
			return err
		}
		var err error
		ans, err = readAnswer(conn)
		return err
	})
	if err == nil && h.id != (sessionID{}) && ans.id != h.id {
		err = violation("peer answers for another session")
	}
	if err != nil {
		conn.Close()
		if errors.Is(err, io.EOF) {
			err = errors.New("connection closed without an answer")
		}
		return nil, answer{}, fmt.Errorf("begin session with %s: %w", s.cfg.Name, err)
	}
	return conn, ans, nil
}

// within does a handshake on conn, bounded by handshakeTimeout and ctx.
func within(ctx context.Context, conn net.Conn, handshake func() error) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		// The past, so that what is in progress ends.
		_ = conn.SetDeadline(time.Unix(1, 0))
	})
	err := handshake()
	if !stop() {
		<-interrupted
		if err != nil {
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return ctx.Err()
	}
	return err
}

// keepConnected reads from the session's connections and makes new ones, until
// the session ends.
func (s *Session) keepConnected(a *attachment, dial func(context.Context) (net.Conn, error)) {
	for a != nil {
		s.readLoop(a)
		a = s.redial(dial)
	}
}

// redial returns the next connection, or nil if the session has ended.
func (s *Session) redial(dial func(context.Context) (net.Conn, error)) *attachment {
	backoff := minBackoff
	for s.ctx.Err() == nil {
		conn, ans, err := s.connect(s.ctx, dial)
		if err == nil {
			a, err := s.resumeOn(conn, ans)
			if err != nil {
				return nil
			}
			return a
		}
		if s.giveUp(err) {
			return nil
		}
		pause := time.NewTimer(backoff/2 + rand.N(backoff/2))
		select {
		case <-pause.C:
		case <-s.ctx.Done():
			pause.Stop()
		}
		backoff = min(2*backoff, maxBackoff)
	}
	return nil
}

func (s *Session) resumeOn(conn net.Conn, ans answer) (*attachment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		go conn.Close()
		return nil, s.err
	}
	a, err := s.attachLocked(conn, ans.terms)
	if err != nil {
		go conn.Close()
		return nil, err
	}
	s.cfg.Logger.Info("link is back", "peer", s.cfg.Name, "session", s.id)
	return a, nil
}

// giveUp notes why a connection could not be made and reports whether there is no
// sense in trying again.
func (s *Session) giveUp(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastErr = err
	s.cfg.Logger.Debug("link is still down", "peer", s.cfg.Name, "session", s.id, "reason", err)
	var refused *RefusedError
	if errors.As(err, &refused) && !refused.again || errors.Is(err, ErrProtocol) || errors.As(err, new(*errVersion)) {
		s.failLocked(fmt.Errorf("%w: %s: %w", ErrLinkLost, s.cfg.Name, err))
	}
	return s.err != nil
}
