// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Command offload-lab makes a HOST and a DPU out of this machine and runs things in them.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/integration/lab"
)

func main() {
	lab.RunChild()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	err := newCommand().ExecuteContext(ctx)
	switch {
	case err == nil:
	case isExit(err):
		os.Exit(lab.ExitCode(err))
	default:
		fmt.Fprintln(os.Stderr, "offload-lab:", err)
		os.Exit(1)
	}
}

// isExit tells whether the error is nothing but the exit status of the command that was to be run.
func isExit(err error) bool {
	exit, ok := err.(*exec.ExitError) //nolint:errorlint // what wraps one has more to say
	return ok && exit.ExitCode() > 0
}
