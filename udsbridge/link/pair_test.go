// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"crypto/tls"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

type tlsConfig = tls.Config

// socketPair returns two ends of a SOCK_SEQPACKET pair.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	local := os.NewFile(uintptr(fds[0]), "local")
	remote := os.NewFile(uintptr(fds[1]), "remote")
	defer local.Close()
	c, err := net.FileConn(local)
	if err != nil {
		remote.Close()
		return nil, nil, err
	}
	return c.(*net.UnixConn), remote, nil
}
