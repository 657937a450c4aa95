// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// nearWindow is as wide as windows get on a connection with a short round trip, in
	// bytes. What is on its way then stays in the processors' caches, which makes a
	// stream up to twice as fast as one whose window is larger than those.
	nearWindow = 256 << 10
	// windowPerMicrosecond is how much wider they get with a longer one, in bytes: as
	// much as 4 GB/s need.
	windowPerMicrosecond = 4 << 10
)

// windowFor returns how wide windows may get on a connection whose round trip takes
// so long. Zero is not known.
func windowFor(rtt time.Duration) int {
	if rtt <= 0 {
		return maxCredit / 2
	}
	return int(max(min(rtt.Microseconds()*windowPerMicrosecond, maxCredit/2), nearWindow))
}

// roundTrip returns the shortest round trip that the kernel has seen on a TCP
// connection, or zero.
func roundTrip(conn net.Conn) time.Duration {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = t.NetConn() // below TLS
	}
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0
	}
	var info *unix.TCPInfo
	var infoErr error
	err = raw.Control(func(fd uintptr) {
		info, infoErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if err != nil || infoErr != nil {
		return 0
	}
	// What was never measured is the greatest value.
	if info.Min_rtt == ^uint32(0) {
		return 0
	}
	return time.Duration(info.Min_rtt) * time.Microsecond
}
