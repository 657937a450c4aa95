// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketMode lets nobody else in: a unix socket may go without TLS.
const socketMode = 0o600

// listenUnix listens on a path. cleanup removes the socket, unless another has
// taken its place.
func listenUnix(ctx context.Context, path string) (net.Listener, func() error, error) {
	l, err := bindUnix(ctx, path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err := removeStale(ctx, path); err != nil {
			return nil, nil, err
		}
		l, err = bindUnix(ctx, path)
	}
	if err != nil {
		return nil, nil, err
	}
	made, err := os.Lstat(path)
	if err != nil {
		l.Close()
		return nil, nil, err
	}
	return l, func() error {
		now, err := os.Lstat(path)
		if err != nil || !os.SameFile(made, now) {
			return nil
		}
		return os.Remove(path)
	}, nil
}

func bindUnix(ctx context.Context, path string) (net.Listener, error) {
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		// The kernel makes the file with the socket's own mode, so that it is never
		// open to others, not even for a moment.
		if cerr := raw.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), socketMode) }); cerr != nil {
			return cerr
		}
		return err
	}}
	l, err := c.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	return l, nil
}

// removeStale removes a socket that nobody listens on.
func removeStale(ctx context.Context, path string) error {
	fi, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if fi.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is there and is not a socket", path)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s: %w", path, syscall.EADDRINUSE)
	}
	return os.Remove(path)
}
