// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Command offloadctl sets offload up and looks inside it. By the name
// mount.fuse.remotefs it is mount(8)'s helper for that type.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/ctl"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	code := run(ctx)
	stop()
	os.Exit(code)
}

func run(ctx context.Context) int {
	if filepath.Base(os.Args[0]) == ctl.MountHelperName {
		return ctl.MountHelper(ctx, os.Args[1:], os.Stderr)
	}
	return ctl.Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
}
