// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Command offload-dpu is the DPU's daemon: it serves containerd its snapshotter
// and differ and keeps the HOST's snapshots mounted.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/agent/dpu"
	"github.com/container-offload/offload/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "offload-dpu:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "offload-dpu",
		Short: "Serve containerd on the DPU the HOST's snapshots",
		Long: `offload-dpu runs on the management machine. It dials the agent of the HOST,
mounts the HOST's snapshots, and serves containerd the snapshotter and the
differ as proxy plugins. It runs in the foreground until SIGTERM or SIGINT.`,
		Example:       "  offload-dpu\n  offload-dpu --config /etc/offload/dpu.toml",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.LoadDPU(path)
			if err != nil {
				return err
			}
			return dpu.Run(cmd.Context(), cfg, cfg.Log.Logger(os.Stderr))
		},
	}
	cmd.Flags().StringVar(&path, "config", config.PathFromEnv(config.DefaultDPUPath), "configuration `file`")
	return cmd
}
