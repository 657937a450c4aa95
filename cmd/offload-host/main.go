// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Command offload-host is the HOST's agent: it awaits the DPU and runs what the
// DPU asks for.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/agent/host"
	"github.com/container-offload/offload/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "offload-host:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "offload-host",
		Short: "Run the DPU's containers on this machine",
		Long: `offload-host runs on the machine that runs the containers. It awaits its DPU,
keeps the snapshots, and starts a shim for each pod. Containers and their shims
outlive it. It runs in the foreground until SIGTERM or SIGINT.`,
		Example:       "  offload-host\n  offload-host --config /etc/offload/host.toml",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			abs, err := host.ConfigPath(path)
			if err != nil {
				return err
			}
			cfg, err := config.LoadHost(abs)
			if err != nil {
				return err
			}
			return host.Run(cmd.Context(), cfg, abs, cfg.Log.Logger(os.Stderr))
		},
	}
	cmd.Flags().StringVar(&path, "config", config.PathFromEnv(config.DefaultHostPath), "configuration `file`")
	return cmd
}
