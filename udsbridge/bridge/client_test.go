// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/wire"
)

// dialAs connects and hangs up as another user.
func dialAs(path string, uid, gid uint32) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return as(wire.Credentials{UID: uid, GID: gid, Groups: []uint32{gid}}, func() error {
		return unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	})
}

func ucred(t testing.TB, c *net.UnixConn) *unix.Ucred {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	var cred *unix.Ucred
	require.NoError(t, raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}))
	require.NoError(t, err)
	return cred
}

// requestConnect asks the far bridge for a connection as a peer could that doesn't
// keep to what it was told of.
func requestConnect(t testing.TB, p *pair, path string) error {
	t.Helper()
	c := wire.Connect{Kind: wire.Stream, Path: path}
	st, err := p.dialled.Open(context.Background(), wire.ServiceConnect, c.Encode())
	require.NoError(t, err)
	defer st.Close()
	var reply wire.Reply
	err = readFrames(st, func(f wire.Frame) error {
		var err error
		if reply, err = wire.ParseReply(f.Payload); err != nil {
			return err
		}
		return errOver
	})
	require.ErrorIs(t, err, errOver)
	if reply.Errno == 0 {
		return nil
	}
	return reply.Errno
}
