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
// replaced when it is next needed; those who need it meanwhile wait for the same
// attempt and fail with its reason. A HOST that was there before is waited for as
// long as a dial may take, since its agent may just be restarted; once that was in
// vain, attempts fail as soon as nothing listens. Its methods may be called
// concurrently.
type Keeper struct {
	// Connected, if set before the first need, is called with each session
	// before anybody gets it. It must return soon.
	Connected func(*session.Session)

	dialer *link.Dialer
	cfg    session.Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex
	current *session.Session // may have ended
	err     error            // why there is none
	dialing *attempt         // nil if nobody needs one
}

// attempt is one to begin a session. Its results are there when done is closed.
type attempt struct {
	done    chan struct{}
	session *session.Session
	err     error
}

// New returns a keeper that has not connected yet.
func New(dialer *link.Dialer, cfg session.Config) *Keeper {
	k := &Keeper{dialer: dialer, cfg: cfg}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	return k
}

// Session returns a live session, which remains the keeper's. Errors wrap
// errdefs.ErrUnavailable.
func (k *Keeper) Session(ctx context.Context) (*session.Session, error) {
	k.mu.Lock()
	if s := k.liveLocked(); s != nil {
		k.mu.Unlock()
		return s, nil
	}
	a := k.dialing
	if a == nil {
		a = &attempt{done: make(chan struct{})}
		k.dialing = a
		go k.dial(a)
	}
	k.mu.Unlock()
	select {
	case <-a.done:
		return a.session, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("link to %s: %w: %w", k.cfg.Name, ctx.Err(), errdefs.ErrUnavailable)
	}
}

// dial makes the attempt, for all who wait for it.
func (k *Keeper) dial(a *attempt) {
	dialer := *k.dialer
	k.mu.Lock()
	dialer.Patient = k.err == nil
	k.mu.Unlock()
	s, err := session.Dial(k.ctx, func(ctx context.Context) (net.Conn, error) {
		return dialer.Dial(ctx, link.Target{Kind: link.KindAgent})
	}, k.cfg)
	k.mu.Lock()
	defer k.mu.Unlock()
	defer close(a.done)
	k.dialing = nil
	switch {
	case k.ctx.Err() != nil:
		if s != nil {
			go s.Close()
		}
		a.err = fmt.Errorf("link to %s is closed here: %w", k.cfg.Name, errdefs.ErrUnavailable)
	case err != nil:
		k.err = err
		a.err = fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
	default:
		if k.Connected != nil {
			k.Connected(s)
		}
		a.session = s
		k.current, k.err = s, nil
	}
}

// Live returns the session there is, or nil.
func (k *Keeper) Live() *session.Session {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.liveLocked()
}

func (k *Keeper) liveLocked() *session.Session {
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
	k.cancel()
	k.mu.Unlock()
	if s := k.Live(); s != nil {
		s.Close()
	}
}
