// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import "github.com/spf13/cobra"

// subcommandNames are the first arguments that are no programs.
var subcommandNames = []string{
	"ps", "wait", "kill", "attach", "serve", "check", "completion", "help", "__complete", "__completeNoDesc",
}

// Command returns the whole command line, for documents made from it.
func Command() *cobra.Command { return command(true) }

// command returns the command line. Without subcommands it only knows how to
// run programs, whatever their names.
func command(subcommands bool) *cobra.Command {
	r := &runFlags{dialing: usualDialing()}
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
  id=$(rexec --background make world); rexec attach $id

  # Without the daemons: the server has a certificate of role host.
  there# rexec serve --listen tcp://10.0.0.2:7600 --ca ca.crt --cert host.crt --key host.key
  here#  rexec --connect tcp://10.0.0.2:7600 --ca ca.crt --cert dpu.crt --key dpu.key uname -a`,
		Args:          cobra.MinimumNArgs(1),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, args []string) error { return r.run(cmd.Context(), args) },
	}
	r.dialing.register(root.PersistentFlags())
	r.register(root)
	if subcommands {
		root.AddCommand(psCommand(r), waitCommand(r), killCommand(r), attachCommand(r), serveCommand(&r.protection), checkCommand())
	}
	return root
}
