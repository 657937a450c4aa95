// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/mdlayher/socket"
	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"
)

// Probes of idle TCP connections, so that the kernel finds a dead peer even if
// nobody above sends anything.
const (
	keepaliveIdle  = 10 * time.Second
	keepaliveCount = 3
	// userTimeout is how long what was sent may stay unacknowledged.
	userTimeout = 20 * time.Second
)

var keepalive = net.KeepAliveConfig{
	Enable: true, Idle: keepaliveIdle, Interval: keepaliveIdle / 2, Count: keepaliveCount,
}

// plainConn is what all sockets of a link can do.
type plainConn interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// connect makes a socket to an address.
func connect(ctx context.Context, a Address) (plainConn, error) {
	if a.Scheme == SchemeVsock {
		c, err := vsock.DialContext(ctx, a.CID, a.Port, nil)
		if err != nil {
			return nil, err
		}
		return tuned(c)
	}
	d := net.Dialer{KeepAliveConfig: keepalive}
	network, address := a.network()
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return tuned(c)
}

// network returns the address as the net package takes it.
func (a Address) network() (network, address string) {
	if a.Scheme == SchemeUnix {
		return "unix", a.Path
	}
	return "tcp", net.JoinHostPort(a.Host, strconv.FormatUint(uint64(a.Port), 10))
}

// tuned returns c ready to be used, with its options set, or closes it.
func tuned(c net.Conn) (plainConn, error) {
	p, ok := c.(plainConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("%T is not a socket of a link", c)
	}
	if _, ok := c.RemoteAddr().(*vsock.Addr); ok {
		return &vsockConn{p}, nil
	}
	if _, ok := c.(*net.TCPConn); !ok {
		return p, nil
	}
	// TCP_NODELAY is set by the net package.
	err := control(p, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout/time.Millisecond))
	})
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("set TCP_USER_TIMEOUT: %w", err)
	}
	return p, nil
}

// control calls f with the descriptor of c.
func control(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := raw.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return ferr
}

// shutdown ends a connection for every descriptor of it.
func shutdown(c syscall.Conn) {
	// It fails on one that has ended already, or that this process has closed.
	_ = control(c, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RDWR) })
}

// duplicate returns a second descriptor of the socket.
func duplicate(c syscall.Conn, name string) (*os.File, error) {
	dup := -1
	err := control(c, func(fd int) (err error) {
		dup, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(dup), name), nil
}

// fromFile returns a connection with a descriptor of its own, and its scheme.
func fromFile(f *os.File) (plainConn, string, error) {
	var sa unix.Sockaddr
	err := control(f, func(fd int) (err error) {
		sa, err = unix.Getpeername(fd)
		return err
	})
	if err != nil {
		return nil, "", os.NewSyscallError("getpeername", err)
	}
	if vm, ok := sa.(*unix.SockaddrVM); ok {
		c, err := socket.FileConn(f, "vsock")
		if err != nil {
			return nil, "", err
		}
		p, err := tuned(&handedVsock{c, vsock.Addr{ContextID: vm.CID, Port: vm.Port}})
		return p, SchemeVsock, err
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, "", err
	}
	scheme := SchemeTCP
	if _, ok := c.(*net.UnixConn); ok {
		scheme = SchemeUnix
	}
	p, err := tuned(c)
	return p, scheme, err
}

// handedVsock is a vsock connection that another process has accepted.
type handedVsock struct {
	*socket.Conn
	peer vsock.Addr
}

func (c *handedVsock) LocalAddr() net.Addr  { return &vsock.Addr{} }
func (c *handedVsock) RemoteAddr() net.Addr { return &c.peer }

// peerName returns the other end's address, as the kernel tells.
func peerName(c plainConn) string {
	switch a := c.RemoteAddr().(type) {
	case *vsock.Addr:
		return Address{Scheme: SchemeVsock, CID: a.ContextID, Port: a.Port}.String()
	case *net.TCPAddr:
		return SchemeTCP + "://" + a.String()
	default:
		return unixPeer(c)
	}
}

// unixPeer names the process at the other end, since its address has no name.
func unixPeer(c plainConn) string {
	var cred *unix.Ucred
	err := control(c, func(fd int) (err error) {
		cred, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	if err != nil {
		return "unix process"
	}
	return fmt.Sprintf("unix process %d of user %d", cred.Pid, cred.Uid)
}
