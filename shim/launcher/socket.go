// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// ListenIn listens on the unix socket called name in dir. The path may be longer
// than the 107 bytes that a socket's address has room for (unix(7)): containerd
// allows 76 for a namespace and as many for an id. The socket is not removed when
// the listener is closed.
func ListenIn(network, dir, name string) (*net.UnixListener, error) {
	var l *net.UnixListener
	err := within(dir, func(at string) (err error) {
		l, err = net.ListenUnix(network, &net.UnixAddr{Net: network, Name: at + name})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s in %s: %w", name, dir, err)
	}
	// The short path means another directory once this process reuses the descriptor.
	l.SetUnlinkOnClose(false)
	return l, nil
}

// DialIn connects to the unix socket called name in dir, however long the path.
func DialIn(network, dir, name string) (*net.UnixConn, error) {
	var c *net.UnixConn
	err := within(dir, func(at string) (err error) {
		c, err = net.DialUnix(network, nil, &net.UnixAddr{Net: network, Name: at + name})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to %s in %s: %w", name, dir, err)
	}
	return c, nil
}

// within calls f with a short path of dir that ends in a slash.
func within(dir string, f func(at string) error) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fmt.Sprintf("/proc/self/fd/%d/", fd))
}
