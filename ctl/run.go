// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/ctl/view"
)

// keepCommandName is the hidden command of the helper of "run".
const keepCommandName = "keep-view"

func runCommand() *cobra.Command {
	var unit, file string
	cmd := &cobra.Command{
		Use:   "run [--unit NAME] -- COMMAND...",
		Short: "Run a stock daemon so that it sees the HOST where it must",
		Long: `Become the given daemon, in a mount namespace of its own in which files of the HOST lie
over those of the DPU: /proc/stat, /proc/meminfo, /proc/sys/kernel/threads-max, the
processors and memory nodes that containers may be bound to and, if the HOST has
version 2 of control groups, its list of controllers. /etc/os-release is a copy of the
HOST's. The daemon's own calls of uname(2) and sched_getaffinity(2) are answered with the
HOST's kernel and number of processors. What the daemon mounts is seen by everybody as
before. PATH begins with links that run ps and runc on the HOST, as far as rexec and
offload-runc are installed.

A helper keeps the HOST's files there until the daemon ends; then nothing is left. If
the link is lost for longer than link.resume_timeout the daemon sees the DPU's files
until it is back. Mounts of the machine must be shared, as systemd makes them.`,
		Example: "  offloadctl run --unit docker -- dockerd --config-file /etc/offload/daemon.json",
		Args:    arguments(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := filepath.Abs(config.PathFromEnv(file))
			if err != nil {
				return err
			}
			if _, err := config.LoadDPU(path); err != nil {
				return err
			}
			if unit == "" {
				unit = filepath.Base(args[0])
			}
			return view.Run(view.Options{
				Unit: unit, Config: path, Command: args,
				Helper: []string{keepCommandName, "--unit", unit, "--dpu", path},
			})
		},
	}
	cmd.Flags().StringVar(&unit, "unit", "", "`name` of the daemon in errors and process lists; by default that of its program")
	cmd.Flags().StringVar(&file, "dpu", config.DefaultDPUPath, "the DPU's configuration `file`")
	return cmd
}

func keepCommand() *cobra.Command {
	var unit, file string
	cmd := &cobra.Command{
		Use:     keepCommandName,
		Short:   "Keep the HOST's files where a daemon sees them (started by run)",
		Example: "  offloadctl " + keepCommandName + " is started by offloadctl run",
		Hidden:  true,
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.LoadDPU(file)
			if err != nil {
				return err
			}
			if err := view.Keep(cmd.Context(), cfg, cfg.Log.Logger(os.Stderr)); err != nil {
				// Whoever started this has been told why.
				return errors.Join(fmt.Errorf("keep the view of %s: %w", unit, err), errReported)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&unit, "unit", "", "the daemon's `name`")
	cmd.Flags().StringVar(&file, "dpu", config.DefaultDPUPath, "the DPU's configuration `file`")
	return cmd
}
