// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/container-offload/offload/agent"
	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/status"
	"github.com/container-offload/offload/udsbridge/hostlink"
	"github.com/container-offload/offload/udsbridge/session"
)

// connector is the link to the HOST's agent, and tells about it.
type connector struct {
	*hostlink.Keeper
	cfg *config.DPU

	mu    sync.Mutex
	state status.LinkState
	since time.Time // of state
}

func newConnector(cfg *config.DPU, log *slog.Logger) (*connector, error) {
	d, err := cfg.Dialer()
	if err != nil {
		return nil, err
	}
	return &connector{
		Keeper: hostlink.New(d, session.Config{
			Name: "HOST " + cfg.Link.Address, ResumeTimeout: cfg.Link.ResumeTimeout.Duration(), Logger: log,
		}),
		cfg: cfg, state: status.LinkConnecting, since: time.Now(),
	}, nil
}

// pluginStream is Open as the plugins want it.
func (c *connector) pluginStream(ctx context.Context, service string, header []byte) (net.Conn, error) {
	return c.Open(ctx, service, header)
}

// report describes the link.
func (c *connector) report() status.Link {
	out := status.Link{State: status.LinkConnecting}
	if s := c.Live(); s != nil {
		out = agent.LinkOf("HOST", "", "", time.Time{}, s.Stats())
	} else if err := c.Err(); err != nil {
		out.Error = err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if out.State != c.state {
		c.state, c.since = out.State, time.Now()
	}
	out.Peer, out.Address, out.Since = "HOST", c.cfg.Link.Address, c.since
	out.Security = agent.Security(c.cfg.Link.Address, c.cfg.Link.TLS, 0)
	return out
}
