// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Command containerd-shim-offload-v1 is the DPU half of the containerd runtime
// v2 shim io.containerd.offload.v1.
package main

import (
	"context"

	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/plugin/registry"

	"github.com/container-offload/offload/shim/dpu"
)

func main() {
	registry.Register(dpu.Registration())
	shim.RunShim(context.Background(), dpu.NewManager(), func(c *shim.Config) {
		// The children are a shadow per task and hooks, each waited for by
		// whoever started it.
		c.NoReaper = true
		c.NoSubreaper = true
	})
}
