// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package hostlink

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/session"
)

// Keeper keeps one session to the HOST's agent. A session that has ended is
// replaced when it is next needed; until a link is back, each need fails with
// the reason rather than wait. Its methods may be called concurrently.
type Keeper struct {
	// Connected, if set before the first need, is called with each session
	// before anybody gets it. It must return soon.
	Connected func(*session.Session)

	dialer *link.Dialer
	cfg    session.Config

	dialing sync.Mutex // held while dialling, so that one dial serves all

	mu      sync.Mutex
	current *session.Session // may have ended
	err     error            // why there is none
	closed  bool
}

// New returns a keeper that has not connected yet.
func New(dialer *link.Dialer, cfg session.Config) *Keeper {
	return &Keeper{dialer: dialer, cfg: cfg}
}

// Session returns a live session, which remains the keeper's. Errors wrap
// errdefs.ErrUnavailable.
func (k *Keeper) Session(ctx context.Context) (*session.Session, error) {
	if s := k.Live(); s != nil {
		return s, nil
	}
	k.dialing.Lock()
	defer k.dialing.Unlock()
	if s := k.Live(); s != nil {
		return s, nil
	}
	s, err := session.Dial(ctx, func(ctx context.Context) (net.Conn, error) {
		return k.dialer.Dial(ctx, link.Target{Kind: link.KindAgent})
	}, k.cfg)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			k.err = err
		}
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
	}
	if k.closed {
		go s.Close()
		return nil, fmt.Errorf("link to %s is closed here: %w", k.cfg.Name, errdefs.ErrUnavailable)
	}
	if k.Connected != nil {
		k.Connected(s)
	}
	k.current, k.err = s, nil
	return s, nil
}

// Live returns the session there is, or nil.
func (k *Keeper) Live() *session.Session {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current == nil {
		return nil
	}
	select {
	case <-k.current.Done():
		return nil
	default:
		return k.current
	}
}

// Err says why there is no session: nil if there is one, or if none was needed.
func (k *Keeper) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil && k.current != nil {
		return k.current.Err()
	}
	return k.err
}

// Open opens a stream of one of the agent's services. Errors wrap
// errdefs.ErrUnavailable.
func (k *Keeper) Open(ctx context.Context, service string, header []byte) (*session.Stream, error) {
	s, err := k.Session(ctx)
	if err != nil {
		return nil, err
	}
	st, err := s.Open(ctx, service, header)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
	}
	return st, nil
}

// Close ends the session.
func (k *Keeper) Close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	if s := k.Live(); s != nil {
		s.Close()
	}
}
