// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Command offload-dpu is the DPU's daemon: it serves containerd its snapshotter
// and differ and keeps the HOST's snapshots mounted.
package main

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/agent"
	"github.com/container-offload/offload/agent/dpu"
	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/ctl/daemon"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	code := daemon.Run(ctx, daemon.DPU(run), os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, path string) error {
	cfg, err := config.LoadDPU(path)
	if err != nil {
		return &daemon.ConfigError{Err: err}
	}
	handed, err := agent.Handed()
	if err != nil {
		return err
	}
	return dpu.Run(ctx, cfg, handed, cfg.Log.Logger(os.Stderr))
}
