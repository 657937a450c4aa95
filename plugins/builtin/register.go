// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package builtin

import (
	"context"
	"net"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/udsbridge/hostlink"
	"github.com/container-offload/offload/udsbridge/session"
)

func init() { Register(connect) }

// connect prepares the link that the DPU's configuration file describes. It is
// dialled with the first stream, and again whenever it has been lost for good.
func connect(_ context.Context, c Config) (Session, error) {
	cfg, err := config.LoadDPU(c.Config)
	if err != nil {
		return nil, err
	}
	dialer, err := cfg.Dialer()
	if err != nil {
		return nil, err
	}
	return agentLink{hostlink.New(dialer, session.Config{
		Name: "HOST " + cfg.Link.Address, ResumeTimeout: cfg.Link.ResumeTimeout.Duration(),
	})}, nil
}

// agentLink is a keeper as a Session.
type agentLink struct{ keeper *hostlink.Keeper }

// Open opens a stream of one of the agent's services.
func (l agentLink) Open(ctx context.Context, service string, header []byte) (net.Conn, error) {
	return l.keeper.Open(ctx, service, header)
}
