// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"time"

	"github.com/container-offload/offload/agent"
	"github.com/container-offload/offload/udsbridge/bridge/policy"
)

// rebridge is the pause before the bridge asks for a session again.
const rebridge = time.Second

// startBridge begins to bridge sockets until ctx ends. Programs of the HOST, which
// is not trusted, are nobody here unless a rule says otherwise.
func (d *Daemon) startBridge(ctx context.Context) (*agent.Bridging, error) {
	g, err := agent.NewBridging(agent.BridgingOptions{
		Rules: d.cfg.Bridges, ByDefault: policy.Nobody, State: d.cfg.State.Dir, Log: d.log,
	})
	if err != nil {
		return nil, err
	}
	go d.keepBridged(ctx, g)
	return g, nil
}

func (d *Daemon) keepBridged(ctx context.Context, g *agent.Bridging) {
	for {
		s, err := d.host.Session(ctx)
		if err == nil {
			err = g.Serve(ctx, s)
		}
		if ctx.Err() != nil {
			return
		}
		d.log.Debug("bridge sockets", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(rebridge):
		}
	}
}
