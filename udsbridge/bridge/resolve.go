// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/policy"
	"github.com/container-offload/offload/udsbridge/bridge/wire"
)

// openBeneath opens rel below dir without ever leaving dir, whatever symbolic links
// say and however names change meanwhile. The descriptor names the file and, with
// O_PATH, is good for nothing else.
func openBeneath(dir, rel string, flags int) (int, error) {
	if rel == "" {
		fd, err := unix.Open(dir, flags|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, fmt.Errorf("open %s: %w", dir, err)
		}
		return fd, nil
	}
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(root)
	for {
		fd, err := unix.Openat2(root, rel, &unix.OpenHow{
			Flags:   uint64(flags | unix.O_CLOEXEC),
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
		})
		switch {
		case err == nil:
			return fd, nil
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			// Somebody renames below dir; the kernel asks to try again.
			continue
		case errors.Is(err, unix.EXDEV):
			return -1, fmt.Errorf("%s leads out of %s: %w", rel, dir, unix.EACCES)
		default:
			return -1, fmt.Errorf("open %s in %s: %w", rel, dir, err)
		}
	}
}

// socketTypes are the kernel's names for kinds of sockets.
var socketTypes = map[wire.SocketKind]int{
	wire.Stream: unix.SOCK_STREAM, wire.SeqPacket: unix.SOCK_SEQPACKET, wire.Datagram: unix.SOCK_DGRAM,
}

// connectTo connects to the socket that c names, as the user that rule makes of who
// asks. The error wraps what connect(2) on this machine gives.
func connectTo(rules []policy.Serve, c wire.Connect) (int, error) {
	rule, rel, ok := policy.Allowed(rules, c.Path)
	if !ok {
		return -1, fmt.Errorf("%s is not served to the peer: %w", c.Path, unix.EACCES)
	}
	who, err := rule.As.Map(c.Who)
	if err != nil {
		return -1, fmt.Errorf("%w: %w", err, unix.EACCES)
	}
	fd, err := unix.Socket(unix.AF_UNIX, socketTypes[c.Kind]|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	if c.Source != "" {
		// A name of the kernel's choice, for answers.
		if err := unix.Bind(fd, &unix.SockaddrUnix{}); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("name socket: %w", err)
		}
	}
	if err := as(who, func() error { return connectChecked(fd, rule.Path, rel) }); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// connectChecked connects to the very socket that was found below dir.
func connectChecked(fd int, dir, rel string) error {
	if strings.HasPrefix(dir, "@") {
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: dir}); err != nil {
			return fmt.Errorf("connect to %s: %w", dir, err)
		}
		return nil
	}
	target, err := openBeneath(dir, rel, unix.O_PATH)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d", target)}); err != nil {
		return fmt.Errorf("connect to %s: %w", policy.Join(dir, rel), err)
	}
	return nil
}

// errnoOf returns what connect(2) failed with.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EIO
}
