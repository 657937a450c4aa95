// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
)

// User is a user and the only group that it is in.
type User struct{ UID, GID uint32 }

// act does a request's work as the export has it done: as this process, or as
// the export's one user.
func (s *session) act(x *export, req *wire.Request, fn func() error) error {
	if x.Squash == nil {
		return fn()
	}
	// Whoever asks is nobody else there.
	req.UID, req.GID = 0, 0
	return s.srv.creds.become(*x.Squash, fn)
}

// become calls fn as a user without privileges: a thread's ids for files, its
// groups and its effective capabilities are its own. What is open stays open.
func (c *creator) become(u User, fn func() error) error {
	if !c.root {
		return unix.EPERM
	}
	runtime.LockOSThread()
	restored := false
	defer func() {
		// A thread that could not be restored ends with its goroutine.
		if restored {
			runtime.UnlockOSThread()
		}
	}()
	groups, err := unix.Getgroups()
	if err != nil {
		return err
	}
	err = c.drop(u)
	if err == nil {
		err = fn()
	}
	header, caps := c.header, c.caps
	err1 := unix.Capset(&header, &caps[0])
	_, err2 := unix.SetfsuidRetUid(0)
	_, err3 := unix.SetfsgidRetGid(0)
	err4 := setThreadGroups(groups)
	header, caps = c.header, c.caps
	err5 := unix.Capset(&header, &caps[0])
	restored = err1 == nil && err2 == nil && err3 == nil && err4 == nil && err5 == nil
	return err
}

// drop gives this thread the user's ids and takes its capabilities away.
func (c *creator) drop(u User) error {
	if err := setThreadGroups(nil); err != nil {
		return err
	}
	if _, err := unix.SetfsgidRetGid(int(u.GID)); err != nil {
		return err
	}
	if _, err := unix.SetfsuidRetUid(int(u.UID)); err != nil {
		return err
	}
	header, caps := c.header, c.caps
	caps[0].Effective, caps[1].Effective = 0, 0
	return unix.Capset(&header, &caps[0])
}

// setThreadGroups sets the groups of this thread only; the function of package
// syscall sets those of all.
func setThreadGroups(groups []int) error {
	gids := make([]uint32, len(groups)+1) // not empty, for its address
	for i, g := range groups {
		gids[i] = uint32(g)
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&gids[0])), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
