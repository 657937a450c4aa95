// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/integration/demo"
	"github.com/container-offload/offload/integration/images"
	"github.com/container-offload/offload/integration/lab"
	"github.com/container-offload/offload/integration/verdict"
)

// newCommand is the command line.
func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "offload-lab",
		Short: "A HOST and a DPU out of one machine",
		Long: `offload-lab makes two isolated environments on this machine, HOST and DPU, joined only by a veth link, runs the
offload system in them (or, with --stock, stock containerd and dockerd in a single one), and removes everything again.
It needs root, and what "make build components images" makes.`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(upCommand(), demoCommand(), execCommand(), shellCommand(), suiteCommand(), testCommand(),
		imagesCommand(), benchRunCommand(), benchDataCommand(), benchNetCommand(), faultsCommand(), soakCommand(), vmCommand())
	return root
}

func upCommand() *cobra.Command {
	var stock, bare bool
	var build string
	cmd := &cobra.Command{
		Use:   "up [-- COMMAND...]",
		Short: "Put a lab up, and open a shell (or run a command) on its DPU",
		Long: `Put a lab up, open a shell on the DPU with docker and ctr ready, and take the lab down when the shell ends.
With a COMMAND that is run instead, and its exit status is the result. Without a terminal and a command the lab stays up
until it is interrupted. Meanwhile "offload-lab exec" and "offload-lab shell" reach it from other terminals.`,
		Example: `  offload-lab up
  offload-lab up --stock
  offload-lab up -- docker run --rm 127.0.0.1:5000/busybox echo hello`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			kind := lab.Offload
			if stock {
				kind = lab.Stock
			}
			l, err := lab.Open(cmd.Context(), lab.Options{Kind: kind, Bare: bare, Build: build})
			if err != nil {
				return err
			}
			defer func() {
				// An exit status on its own stays what it is.
				if closeErr := l.Close(); closeErr != nil {
					err = errors.Join(err, closeErr)
				}
			}()
			switch {
			case len(args) > 0:
				return attached(cmd.Context(), l.DPU, args)
			case isTerminal(os.Stdin):
				fmt.Fprintf(os.Stderr, "The lab is up. This is the DPU; images: %s/{busybox,redis,layers}. "+
					"Elsewhere: offload-lab shell host\n", lab.RegistryAddress)
				return shell(cmd.Context(), l.DPU)
			}
			fmt.Fprintln(os.Stderr, "The lab is up. Interrupt to take it down.")
			<-cmd.Context().Done()
			return nil
		},
	}
	cmd.Flags().BoolVar(&stock, "stock", false, "stock containerd, dockerd and runc in one environment")
	cmd.Flags().BoolVar(&bare, "bare", false, "environments only, nothing running in them")
	cmd.Flags().StringVar(&build, "build", "", "the build directory (default: build in this repository)")
	return cmd
}

func execCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec host|dpu COMMAND...",
		Short: "Run a command in the lab that is up",
		Example: `  offload-lab exec dpu docker ps
  offload-lab exec host ps -ef`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			env, err := side(args[0])
			if err != nil {
				return err
			}
			return attached(cmd.Context(), env, args[1:])
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func shellCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "shell [host|dpu]",
		Short:   "Open a shell in the lab that is up, on the DPU unless told otherwise",
		Example: "  offload-lab shell host",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			env, err := side(append(args, "dpu")[0])
			if err != nil {
				return err
			}
			return shell(cmd.Context(), env)
		},
	}
}

func demoCommand() *cobra.Command {
	var interactive bool
	var build string
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Show docker run on the DPU and the container on the HOST, step by step",
		Example: "  offload-lab demo\n  offload-lab demo --shell",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options := demo.Options{Out: os.Stdout, Colour: isTerminal(os.Stdout), Build: build}
			if interactive {
				options.Shell = func(ctx context.Context, l *lab.Lab) error { return shell(ctx, l.DPU) }
			}
			return demo.Run(cmd.Context(), options)
		},
	}
	cmd.Flags().BoolVar(&interactive, "shell", false, "stay in a shell on the DPU before the lab is taken down")
	cmd.Flags().StringVar(&build, "build", "", "the build directory (default: build in this repository)")
	return cmd
}

func suiteCommand() *cobra.Command {
	var stock bool
	cmd := &cobra.Command{
		Use:   "run-suite [-- GO TEST FLAGS...]",
		Short: "Run the integration suite of this repository against a lab of its own",
		Example: `  offload-lab run-suite
  offload-lab run-suite --stock -- -run 'TestRun/exit' -v`,
		RunE: func(cmd *cobra.Command, args []string) error {
			kind := lab.Offload
			if stock {
				kind = lab.Stock
			}
			test := exec.CommandContext(cmd.Context(), "go", append([]string{"test", "-count=1", "./integration/run"}, args...)...)
			test.Env = append(os.Environ(), "OFFLOAD_LAB_KIND="+string(kind))
			test.Stdout, test.Stderr = os.Stdout, os.Stderr
			return test.Run()
		},
	}
	cmd.Flags().BoolVar(&stock, "stock", false, "run it against stock daemons, as a control")
	return cmd
}

func imagesCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     "images",
		Short:   "Build the images that the lab's registry serves",
		Example: "  offload-lab images --dir build/images",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				build, err := lab.FindBuild()
				if err != nil {
					return err
				}
				dir = filepath.Join(build, "images")
			}
			return images.Build(cmd.Context(), dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "where to put them (default: build/images in this repository)")
	return cmd
}

func testCommand() *cobra.Command {
	var again bool
	command := &cobra.Command{
		Use:   "test -- GO TEST ARGUMENTS...",
		Short: "Run go test, and fail on a test that was skipped without a reason that is known",
		Long: `Run go test with the arguments and print its lines. At the end list the tests that were skipped, with their reasons,
and fail if one is not on the list of those that may be.`,
		Example: "  offload-lab test -- -race ./...",
		RunE: func(cmd *cobra.Command, args []string) error {
			return verdict.Run(cmd.Context(), args, again, os.Stdout)
		},
	}
	command.Flags().BoolVar(&again, "again", false, "run what failed once more, alone, and only list it if it passes then")
	return command
}

// side finds one environment of the lab that is up.
func side(name string) (*lab.Env, error) {
	l, err := lab.Attach()
	if err != nil {
		return nil, err
	}
	switch name {
	case "host":
		return l.Host, nil
	case "dpu":
		return l.DPU, nil
	}
	return nil, fmt.Errorf("no such side: %q (host or dpu)", name)
}

// shell runs an interactive shell in the environment.
func shell(ctx context.Context, env *lab.Env) error {
	if !isTerminal(os.Stdin) {
		return errors.New("a shell needs a terminal: use exec for commands")
	}
	err := attached(ctx, env, []string{"bash", "--rcfile", "/root/.bashrc", "-i"})
	if lab.ExitCode(err) >= 0 {
		// The status of whatever the user ran last is not this program's.
		return nil
	}
	return err
}

// attached runs a command in the environment on this process's own standard files.
func attached(ctx context.Context, env *lab.Env, argv []string) error {
	command := env.Command(ctx, argv...)
	command.Dir = "/root"
	if isTerminal(os.Stdin) {
		return onTerminal(command)
	}
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	// In this process's own group, a Ctrl-C reaches it too; it is for the command to decide what that means.
	command.SysProcAttr = &unix.SysProcAttr{}
	signal.Ignore(unix.SIGINT)
	return command.Run()
}
