// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"net"

	"github.com/container-offload/offload/agent"
	"github.com/container-offload/offload/rexec/relay"
	"github.com/container-offload/offload/udsbridge/session"
)

// startRexec listens for clients of this machine. What the HOST may run here, if
// it may, it may from the first session on.
func (d *Daemon) startRexec(ctx context.Context) error {
	r, err := agent.NewRexec(ctx, d.cfg.Rexec, d.cfg.State.Dir, "HOST", d.cfg.Link.ResumeTimeout.Duration(), d.log)
	if err != nil {
		return err
	}
	d.rexec = r
	d.host.Connected = func(sess *session.Session) { go r.ServePeer(ctx, sess) }
	return nil
}

// openRexec opens a stream for a client of this machine.
func (d *Daemon) openRexec(ctx context.Context) (net.Conn, error) {
	return d.host.Open(ctx, relay.Service, nil)
}
