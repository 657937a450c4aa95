// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package rtnl

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/network/netns"
)

const (
	// quiet is how long nothing must change before a change is reported, so
	// that one of several steps is reported once; patience bounds the wait.
	quiet    = 10 * time.Millisecond
	patience = 100 * time.Millisecond
)

// Watcher reports that something has changed in a namespace. It has a socket
// and no goroutine.
type Watcher struct{ f *os.File }

// Groups of changes; see rtnetlink(7).
var (
	// All is everything that a description holds.
	All = []uint{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF,
	}
	// Addresses are interfaces and their addresses only.
	Addresses = []uint{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR}
)

// Watch begins to watch the namespace.
func Watch(ns *os.File, groups []uint) (*Watcher, error) {
	var f *os.File
	err := netns.Do(ns, func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), "rtnetlink")
		var mask uint32
		for _, g := range groups {
			mask |= 1 << (g - 1)
		}
		return unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: mask})
	})
	if err != nil {
		if f != nil {
			f.Close()
		}
		return nil, fmt.Errorf("watch network namespace: %w", err)
	}
	return &Watcher{f}, nil
}

// Wait returns once something has changed and then nothing for a moment. It
// fails with [os.ErrClosed] after Close.
func (w *Watcher) Wait() error {
	if err := w.next(time.Time{}); err != nil {
		return err
	}
	limit := time.Now().Add(patience)
	for {
		until := time.Now().Add(quiet)
		if until.After(limit) {
			return nil
		}
		err := w.next(until)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// next takes messages off the socket, waiting for the first.
func (w *Watcher) next(until time.Time) error {
	if err := w.f.SetReadDeadline(until); err != nil {
		return err
	}
	raw, err := w.f.SyscallConn()
	if err != nil {
		return err
	}
	// A message that is cut or lost (ENOBUFS) is a change all the same.
	var b [16]byte
	return raw.Read(func(fd uintptr) bool {
		_, _, err := unix.Recvfrom(int(fd), b[:], 0)
		for err == nil {
			if _, _, err = unix.Recvfrom(int(fd), b[:], 0); err != nil {
				return true
			}
		}
		return !errors.Is(err, unix.EAGAIN)
	})
}

// Close ends the watch and a Wait that goes on.
func (w *Watcher) Close() error { return w.f.Close() }
