// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pidfd knows whether a process of this machine has ended, by a
// descriptor and not by a number that another process may get.
//
// It imports no other package of this module and never changes a process.
package pidfd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a process that may have ended.
type Process struct{ f *os.File }

// Open takes hold of the process that has the number now.
func Open(pid int) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	return &Process{os.NewFile(uintptr(fd), "pidfd")}, nil
}

// Close gives up the hold on the process.
func (p *Process) Close() { p.f.Close() }

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	raw, err := p.f.SyscallConn()
	if err != nil {
		return true
	}
	ended := false
	err = raw.Control(func(fd uintptr) { ended = readable(fd) })
	return err != nil || ended
}

// Wait waits until the process has ended, and then returns true, or until stop
// is closed. It takes no thread.
func (p *Process) Wait(stop <-chan struct{}) bool {
	raw, err := p.f.SyscallConn()
	if err != nil {
		return false
	}
	done := make(chan bool, 1)
	go func() {
		ended := false
		err := raw.Read(func(fd uintptr) bool {
			ended = readable(fd)
			return ended
		})
		done <- err == nil && ended
	}()
	select {
	case ended := <-done:
		return ended
	case <-stop:
		// The past ends the wait.
		if err := p.f.SetReadDeadline(time.Unix(1, 0)); err != nil {
			return false
		}
		return <-done
	}
}

func readable(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n == 1
		}
	}
}

// Peer returns who was at the other end of a connection when it was made.
func Peer(c *net.UnixConn) (uid, pid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the peer's process: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, 0, fmt.Errorf("ask for the peer's process: %w", err)
	}
	if credErr != nil {
		return 0, 0, fmt.Errorf("ask for the peer's process: %w", credErr)
	}
	return int(cred.Uid), int(cred.Pid), nil
}
