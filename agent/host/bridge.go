// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"log/slog"

	"github.com/container-offload/offload/agent"
	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/udsbridge/bridge/policy"
)

// newBridging begins to bridge sockets. Programs of the DPU are who they are there
// unless a rule says otherwise, and descriptors of what the DPU has mounted become
// the files themselves.
func newBridging(cfg *config.Host, log *slog.Logger) (*agent.Bridging, error) {
	dirs := []string{cfg.Store.Tree}
	for _, e := range cfg.Exports {
		if !e.ReadOnly {
			dirs = append(dirs, e.Path)
		}
	}
	return agent.NewBridging(agent.BridgingOptions{
		Rules: cfg.Bridges, ByDefault: policy.Identity{Same: true}, Dirs: dirs, State: cfg.State.Dir, Log: log,
	})
}
