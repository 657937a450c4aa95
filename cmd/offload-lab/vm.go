// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/integration/lab"
	"github.com/container-offload/offload/integration/vm"
)

// vmCommand is about two virtual machines instead of two environments.
func vmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vm",
		Short: "A HOST and a DPU that are virtual machines",
		Long: `Two QEMU virtual machines, HOST and DPU, with different releases of Debian and their kernels. They start from images
that are made once below build/vm, and what they write is gone when they end.`,
	}
	cmd.AddCommand(vmBuildCommand(), vmUpCommand(), vmKeepCommand(), vmDownCommand(), vmSSHCommand())
	return cmd
}

// vmOptions are those of this repository.
func vmOptions() (vm.Options, string, error) {
	build, err := lab.FindBuild()
	return vm.Options{Cache: filepath.Join(build, "vm"), Repository: filepath.Dir(build), Log: os.Stderr}, build, err
}

func vmBuildCommand() *cobra.Command {
	return &cobra.Command{
		Use: "build", Short: "Build the machines' images and unpack QEMU, once", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, _, err := vmOptions()
			if err != nil {
				return err
			}
			return vm.Build(cmd.Context(), options)
		},
	}
}

func vmUpCommand() *cobra.Command {
	var link string
	cmd := &cobra.Command{
		Use: "up", Short: "Start both machines and leave them running", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, build, err := vmOptions()
			if err != nil {
				return err
			}
			path := filepath.Join(build, "log", "vm-up.log")
			if err := keepInBackground(cmd.Context(), path, link); err != nil {
				text, _ := os.ReadFile(path)
				return fmt.Errorf("start the machines: %w\n%s", err, text)
			}
			fmt.Fprintln(os.Stderr, "The machines are up: make vm-ssh-host, make vm-ssh-dpu, make vm-down")
			return nil
		},
	}
	cmd.Flags().StringVar(&link, "link", string(vm.TCP), "how the two are joined, tcp or vsock")
	return cmd
}

// keepInBackground starts a process that keeps a pair, and returns when the pair is up. The process logs to a file.
func keepInBackground(ctx context.Context, path, link string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	log, err := os.Create(path)
	if err != nil {
		return err
	}
	defer log.Close()
	keeper := exec.Command("/proc/self/exe", "vm", "keep", "--link", link)
	keeper.Stderr, keeper.SysProcAttr = log, &unix.SysProcAttr{Setsid: true}
	said, err := keeper.StdoutPipe()
	if err != nil {
		return err
	}
	if err := keeper.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = keeper.Process.Signal(unix.SIGTERM) })
	defer stop()
	if line, _ := bufio.NewReader(said).ReadString('\n'); line == "up\n" {
		return nil
	}
	return errors.Join(ctx.Err(), keeper.Wait())
}

func vmKeepCommand() *cobra.Command {
	var link string
	cmd := &cobra.Command{
		Use: "keep", Short: "Start both machines and stay until told to end", Args: cobra.NoArgs, Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, build, err := vmOptions()
			if err != nil {
				return err
			}
			if link != string(vm.TCP) && link != string(vm.Vsock) {
				return fmt.Errorf("no such link: %q (tcp or vsock)", link)
			}
			return vm.Keep(cmd.Context(), options, func(ctx context.Context, p *vm.Pair) error {
				if err := p.Install(ctx, vm.Link(link)); err != nil {
					return err
				}
				// It ends with this process.
				_, err := p.ServeImages(ctx, filepath.Join(build, "images"), "busybox", "redis", "layers")
				return err
			}, os.Stdout)
		},
	}
	cmd.Flags().StringVar(&link, "link", string(vm.TCP), "how the two are joined, tcp or vsock")
	return cmd
}

func vmDownCommand() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Stop the machines that are running", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, _, err := vmOptions()
			if err != nil {
				return err
			}
			return vm.TakeDown(cmd.Context(), options.Cache)
		},
	}
}

func vmSSHCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ssh host|dpu [COMMAND...]",
		Short: "Open a shell on a machine that is running, or run a command there",
		Example: `  offload-lab vm ssh dpu
  offload-lab vm ssh dpu docker ps`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			options, _, err := vmOptions()
			if err != nil {
				return err
			}
			guest, err := vm.Attach(options.Cache, args[0])
			if err != nil {
				return err
			}
			code, err := onGuest(cmd.Context(), guest, args[1:])
			if err == nil && code != 0 {
				os.Exit(code)
			}
			return err
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// onGuest runs a command, or a shell, on the guest with this process's own standard files.
func onGuest(ctx context.Context, guest *vm.Guest, argv []string) (_ int, err error) {
	streams := vm.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	switch {
	case isTerminal(os.Stdin) && isTerminal(os.Stdout):
	case len(argv) == 0:
		return guest.Run(ctx, streams, "bash", "-l")
	default:
		return guest.Run(ctx, streams, argv...)
	}
	restore, err := raw(os.Stdin)
	if err != nil {
		return -1, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, unix.SIGWINCH)
	defer signal.Stop(changes)
	changes <- unix.SIGWINCH
	sizes := make(chan vm.Size, 1)
	go func() {
		for range changes {
			if size, err := unix.IoctlGetWinsize(int(os.Stdin.Fd()), unix.TIOCGWINSZ); err == nil {
				sizes <- vm.Size{Rows: int(size.Row), Columns: int(size.Col)}
			}
		}
	}()
	return guest.Terminal(ctx, streams, os.Getenv("TERM"), sizes, argv...)
}
