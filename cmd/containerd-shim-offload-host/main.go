// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Command containerd-shim-offload-host is the HOST half of the shim. The agent
// offload-host starts it; it is not meant to be run by hand.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/shim/host"
	"github.com/container-offload/offload/shim/launcher"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "containerd-shim-offload-host:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	cfg, err := config.LoadHost(config.PathFromEnv(config.DefaultHostPath))
	if err != nil {
		return err
	}
	switch {
	case len(args) == 0:
		return host.Run(ctx, cfg, cfg.Log.Logger(os.Stderr))
	case len(args) == 4 && args[0] == launcher.DeleteCommand:
		record, err := host.Delete(ctx, cfg, args[1], args[2], args[3])
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(record)
	}
	return fmt.Errorf("usage: containerd-shim-offload-host [%s NAMESPACE SHIM TASK]", launcher.DeleteCommand)
}
