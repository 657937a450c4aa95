// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/container-offload/offload/rexec/client"
	"github.com/container-offload/offload/rexec/server"
	"github.com/container-offload/offload/rexec/wire"
)

// Exit statuses of our own, as env(1) has them.
const (
	exitFailed        = 125
	exitNotExecutable = 126
	exitNotFound      = 127
)

// ownName is the name under which this program is not another.
const ownName = "rexec"

// Main is the main function of rexec. It doesn't return.
func Main() {
	server.RunLeader()
	err := execute(context.Background(), os.Args)
	var ended *endedError
	if errors.As(err, &ended) {
		ended.follow()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rexec:", err)
	}
	os.Exit(exitCode(err))
}

// execute runs what a command line asks for.
func execute(ctx context.Context, args []string) error {
	if name := filepath.Base(args[0]); name != ownName {
		r := &runFlags{dialing: usualDialing()}
		return r.run(ctx, append([]string{name}, args[1:]...))
	}
	cmd := command(len(args) > 1 && slices.Contains(append(subcommandNames, "--help", "-h"), args[1]))
	cmd.SetArgs(args[1:])
	return cmd.ExecuteContext(ctx)
}

// endedError is how the program ended.
type endedError struct{ status wire.Exited }

func (e *endedError) Error() string {
	if e.status.Signal != "" {
		return "ended by signal " + e.status.Signal
	}
	return fmt.Sprintf("ended with status %d", e.status.Code)
}

// follow ends this process the same way.
func (e *endedError) follow() {
	if e.status.Signal == "" {
		os.Exit(int(e.status.Code))
	}
	sig, err := wire.ParseSignal(e.status.Signal)
	if err == nil {
		client.DieBy(sig)
	}
	os.Exit(128 + int(sig))
}

// exitCode is the status of this process after an error of its own.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	var refused *client.RefusedError
	if errors.As(err, &refused) {
		switch refused.Reason {
		case wire.ReasonNotFound:
			return exitNotFound
		case wire.ReasonNotExecutable, wire.ReasonDenied:
			return exitNotExecutable
		}
	}
	return exitFailed
}
