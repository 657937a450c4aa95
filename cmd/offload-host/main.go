// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Command offload-host is the HOST's agent: it awaits the DPU and runs what the
// DPU asks for.
package main

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/agent/host"
	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/ctl/daemon"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	code := daemon.Run(ctx, daemon.Host(run), os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, path string) error {
	abs, err := host.ConfigPath(path)
	if err != nil {
		return &daemon.ConfigError{Err: err}
	}
	cfg, err := config.LoadHost(abs)
	if err != nil {
		return &daemon.ConfigError{Err: err}
	}
	return host.Run(ctx, cfg, abs, cfg.Log.Logger(os.Stderr))
}
