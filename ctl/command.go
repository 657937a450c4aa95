// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/container-offload/offload/version"
)

// What a run of the program ends with.
const (
	ExitOK      = 0
	ExitFailure = 1
	ExitUsage   = 2
)

// usageError is an error in a command line, not in what it asks for.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// errReported is a failure about which everything was said on standard output.
var errReported = errors.New("reported")

// Run runs the program with the arguments after its name and returns its exit
// status.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := New()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	var usage *usageError
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, errReported):
		return ExitFailure
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "offloadctl: %v\nSee \"%s --help\".\n", err, cmd.CommandPath())
		return ExitUsage
	}
	fmt.Fprintln(stderr, "offloadctl:", err)
	return ExitFailure
}

// New returns the command line.
func New() *cobra.Command {
	root := group(&cobra.Command{
		Use:   "offloadctl",
		Short: "Set offload up and look inside it",
		Long: `offloadctl sets up the link between a DPU and its HOST, prints and checks their
configuration, shows what the daemons are doing, and says what is wrong.

It ends with status 0, with 1 if something failed or is wrong, and with 2 if it
does not understand its command line.`,
	})
	root.SilenceUsage, root.SilenceErrors = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(
		statusCommand(), doctorCommand(), linksCommand(), mountsCommand(), shimsCommand(), shadowsCommand(),
		pkiCommand(), configCommand(), mountCommand(), runCommand(), keepCommand(), bridgeCommand(),
		completionCommand(), manCommand(), versionCommand(),
	)
	return root
}

// group makes a command that only holds others: alone it prints its help, and
// with a word that is none of them it fails.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		err := fmt.Errorf("unknown command %q of %s", args[0], cmd.CommandPath())
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			err = fmt.Errorf("%w, did you mean %s?", err, strings.Join(near, " or "))
		}
		return &usageError{err}
	}
	cmd.SuggestionsMinimumDistance = 2
	return cmd
}

// arguments makes what is wrong with a command's arguments an error of usage.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{err}
		}
		return nil
	}
}

func versionCommand() *cobra.Command {
	var format formatFlag
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		Example: "  offloadctl version\n  offloadctl version -o json",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := struct {
				Version string `json:"version"`
			}{version.String()}
			return format.print(cmd.OutOrStdout(), v, func(w *printer) { w.line("offload %s", v.Version) })
		},
	}
	format.add(cmd)
	return cmd
}
