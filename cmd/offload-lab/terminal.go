// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/integration/lab"
)

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// onTerminal gives the command a terminal of its environment and joins that to this process's own.
func onTerminal(command *lab.Cmd) (err error) {
	master, err := command.StartTTY()
	if err != nil {
		return err
	}
	defer master.Close()
	restore, err := raw(os.Stdin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()
	sizes := make(chan os.Signal, 1)
	signal.Notify(sizes, unix.SIGWINCH)
	defer signal.Stop(sizes)
	sizes <- unix.SIGWINCH
	go func() {
		for range sizes {
			if size, err := unix.IoctlGetWinsize(int(os.Stdin.Fd()), unix.TIOCGWINSZ); err == nil {
				_ = unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, size)
			}
		}
	}()
	go func() { _, _ = io.Copy(master, os.Stdin) }()
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		// It ends with EIO when the last process has closed the terminal.
		_, _ = io.Copy(os.Stdout, master)
	}()
	err = command.Wait()
	<-shown
	return err
}

// raw hands every key through, and returns what undoes that.
func raw(f *os.File) (func() error, error) {
	before, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("read terminal settings: %w", err)
	}
	after := *before
	after.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	after.Oflag &^= unix.OPOST
	after.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	after.Cflag &^= unix.CSIZE | unix.PARENB
	after.Cflag |= unix.CS8
	after.Cc[unix.VMIN], after.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &after); err != nil {
		return nil, fmt.Errorf("set terminal: %w", err)
	}
	return func() error { return unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, before) }, nil
}
