// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"time"

	"github.com/spf13/cobra"
)

// subcommandNames are the first arguments that are no programs.
var subcommandNames = []string{
	"ps", "wait", "kill", "attach", "serve", "check", "completion", "help", "__complete", "__completeNoDesc",
}

// Command returns the whole command line, for documents made from it.
func Command() *cobra.Command { return command(true) }

// command returns the command line. Without subcommands it only knows how to
// run programs, whatever their names.
func command(subcommands bool) *cobra.Command {
	r := &runFlags{}
	root := &cobra.Command{
		Use:   "rexec [flags] [--] PROGRAM [ARGUMENT...]",
		Short: "Run a program on the peer as if it were here",
		Long: `rexec runs a program on the other machine. Its standard input, output and error
are those of rexec; if input and output are a terminal, it gets a terminal too.
Signals are passed on, and rexec ends as the program ends: with its status, or
by the same signal. What may be run says the allow-list of the other machine.

Under another name, as by "ln -s rexec /usr/local/bin/ps", it runs the program
of that name, with all its arguments.

To run a program that is called like a subcommand, write "rexec -- ps".

Its own failures have the status 125; 126 if the program may not or can't be
run; 127 if it does not exist.`,
		Example: `  rexec uname -a
  tar c . | rexec tar x -C /srv
  rexec -u nobody -e LANG=C sh -c 'id; locale'
  id=$(rexec --background make world); rexec attach $id`,
		Args:          cobra.MinimumNArgs(1),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, args []string) error { return r.run(cmd.Context(), args) },
	}
	root.PersistentFlags().StringVar(&r.connect, "connect", defaultConnect(), "`address` of the server or of the daemon that carries to it")
	root.PersistentFlags().DurationVar(&r.resume, "resume-timeout", 5*time.Minute, "how long to wait for a link that was lost")
	r.register(root)
	if subcommands {
		root.AddCommand(psCommand(r), waitCommand(r), killCommand(r), attachCommand(r), serveCommand(), checkCommand())
	}
	return root
}
