// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/version"
)

// ExitConfig is the status with which a daemon ends whose configuration is
// wrong, EX_CONFIG of sysexits.h: the units do not start it again.
const ExitConfig = 78

// ConfigError is a wrong configuration.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *ConfigError) Unwrap() error { return e.Err }

// Run runs a daemon's command line and returns the status to exit with.
func Run(ctx context.Context, cmd *cobra.Command, stderr io.Writer) int {
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "%s: %v\n", cmd.Name(), err)
	if errors.As(err, new(*ConfigError)) {
		return ExitConfig
	}
	return 1
}

// DPU returns the command line of offload-dpu. run gets the path of the
// configuration file.
func DPU(run func(ctx context.Context, path string) error) *cobra.Command {
	return command(&cobra.Command{
		Use:   "offload-dpu",
		Short: "Serve containerd on the DPU the HOST's snapshots",
		Long: `offload-dpu runs on the management machine. It dials the agent of the HOST,
mounts the HOST's snapshots, and serves containerd the snapshotter and the
differ as proxy plugins. It runs in the foreground until SIGTERM or SIGINT.

It ends with status 78 if its configuration is wrong.`,
		Example: "  offload-dpu\n  offload-dpu --config " + config.DefaultDPUPath,
	}, config.DefaultDPUPath, run)
}

// Host returns the command line of offload-host. run gets the path of the
// configuration file.
func Host(run func(ctx context.Context, path string) error) *cobra.Command {
	return command(&cobra.Command{
		Use:   "offload-host",
		Short: "Run the DPU's containers on this machine",
		Long: `offload-host runs on the machine that runs the containers. It awaits its DPU,
keeps the snapshots, and starts a shim for each pod. Containers and their shims
outlive it. It runs in the foreground until SIGTERM or SIGINT.

It ends with status 78 if its configuration is wrong.`,
		Example: "  offload-host\n  offload-host --config " + config.DefaultHostPath,
	}, config.DefaultHostPath, run)
}

func command(cmd *cobra.Command, path string, run func(ctx context.Context, path string) error) *cobra.Command {
	cmd.Args = cobra.NoArgs
	cmd.Version = version.String()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.CompletionOptions.DisableDefaultCmd = true
	// The default is not what the environment says, so that a manual page does
	// not depend on it.
	cmd.Flags().StringVar(&path, "config", path, "configuration `file`; by default what the variable "+config.PathEnv+" names, if it is set")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !cmd.Flags().Changed("config") {
			path = config.PathFromEnv(path)
		}
		return run(cmd.Context(), path)
	}
	return cmd
}
