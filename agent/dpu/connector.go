// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/container-offload/offload/agent"
	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/status"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/session"
)

// connector keeps one session to the HOST's agent. A session that has ended is
// replaced when it is next needed; until a link is back, each need fails with
// the reason rather than wait.
type connector struct {
	cfg    *config.DPU
	log    *slog.Logger
	dialer *link.Dialer

	dialing sync.Mutex // held while dialling, so that one dial serves all

	mu      sync.Mutex
	current *session.Session
	state   status.LinkState
	since   time.Time // of state
	err     error     // why there is no session

	// connected is called with each session, before anybody gets it.
	connected func(*session.Session)
}

func newConnector(cfg *config.DPU, log *slog.Logger) (*connector, error) {
	d, err := cfg.Dialer()
	if err != nil {
		return nil, err
	}
	return &connector{cfg: cfg, log: log, dialer: d, state: status.LinkConnecting, since: time.Now()}, nil
}

// session returns a live session.
func (c *connector) session(ctx context.Context) (*session.Session, error) {
	if s := c.live(); s != nil {
		return s, nil
	}
	c.dialing.Lock()
	defer c.dialing.Unlock()
	if s := c.live(); s != nil {
		return s, nil
	}
	s, err := session.Dial(ctx, func(ctx context.Context) (net.Conn, error) {
		return c.dialer.Dial(ctx, link.Target{Kind: link.KindAgent})
	}, session.Config{
		Name: "HOST " + c.cfg.Link.Address, ResumeTimeout: c.cfg.Link.ResumeTimeout.Duration(), Logger: c.log,
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			c.err = err
		}
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
	}
	c.current, c.err = s, nil
	if c.connected != nil {
		c.connected(s)
	}
	return s, nil
}

// report describes the link.
func (c *connector) report() status.Link {
	s := c.live()
	c.mu.Lock()
	defer c.mu.Unlock()
	out := status.Link{State: status.LinkDown}
	switch {
	case s != nil:
		out = agent.LinkOf("HOST", "", "", time.Time{}, s.Stats())
	case c.current == nil:
		out.State = status.LinkConnecting
	}
	if out.State != c.state {
		c.state, c.since = out.State, time.Now()
	}
	if s == nil && c.err != nil {
		out.Error = c.err.Error()
	} else if s == nil && c.current != nil {
		out.Error = c.current.Err().Error()
	}
	out.Peer, out.Address, out.Since = "HOST", c.cfg.Link.Address, c.since
	out.Security = agent.Security(c.cfg.Link.Address, c.cfg.Link.TLS, 0)
	return out
}

func (c *connector) live() *session.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		return nil
	}
	select {
	case <-c.current.Done():
		return nil
	default:
		return c.current
	}
}

// open opens a stream of one of the agent's services.
func (c *connector) open(ctx context.Context, service string, header []byte) (*session.Stream, error) {
	s, err := c.session(ctx)
	if err != nil {
		return nil, err
	}
	st, err := s.Open(ctx, service, header)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
	}
	return st, nil
}

// pluginStream is open as the plugins want it.
func (c *connector) pluginStream(ctx context.Context, service string, header []byte) (net.Conn, error) {
	return c.open(ctx, service, header)
}

func (c *connector) close() {
	if s := c.live(); s != nil {
		s.Close()
	}
}
