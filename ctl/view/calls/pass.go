// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package calls

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Pair returns two connected sockets, by which a listener goes from one process to
// another.
func Pair() (here, there *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make sockets: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "listener"), os.NewFile(uintptr(fds[1]), "listener"), nil
}

// maxComplaint bounds what is said in place of a listener, in bytes.
const maxComplaint = 1024

// Send sends a listener, or why there is none.
func Send(to, listener *os.File, why error) error {
	var rights []byte
	text := []byte("listener")
	if why != nil {
		text = []byte(why.Error())
		text = text[:min(len(text), maxComplaint)]
	} else {
		rights = unix.UnixRights(int(listener.Fd()))
	}
	if err := unix.Sendmsg(int(to.Fd()), text, rights, nil, 0); err != nil {
		return fmt.Errorf("pass the listener on: %w", err)
	}
	return nil
}

// Receive returns the listener that the other end sends, or why there is none.
func Receive(from *os.File) (*os.File, error) {
	text, rights := make([]byte, maxComplaint), make([]byte, unix.CmsgSpace(4))
	n, nr, _, _, err := unix.Recvmsg(int(from.Fd()), text, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("receive the listener: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:nr])
	if err == nil && len(messages) == 1 {
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
			return os.NewFile(uintptr(fds[0]), "seccomp"), nil
		}
	}
	if n > 0 {
		return nil, errors.New(string(text[:n]))
	}
	return nil, errors.New("receive the listener: the daemon has ended")
}
