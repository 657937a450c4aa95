// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// creator makes files that belong to a client's user.
//
// A file that is made by root and given away afterwards would be root's for a
// moment, and a name is not proof of which file one gives away. So the thread
// takes the user's ids for files (see setfsuid(2)), and keeps its capabilities:
// permissions were checked by the client's kernel, which knows all groups.
type creator struct {
	header unix.CapUserHeader
	caps   [2]unix.CapUserData
	root   bool
}

func newCreator() *creator {
	c := &creator{header: unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}}
	err := unix.Capget(&c.header, &c.caps[0])
	c.root = err == nil && unix.Geteuid() == 0
	return c
}

// as calls fn with the user's ids for files.
func (c *creator) as(uid, gid uint32, fn func() error) error {
	if uid == 0 && gid == 0 || !c.root {
		return fn()
	}
	if uid == ^uint32(0) || gid == ^uint32(0) {
		return unix.EINVAL
	}
	runtime.LockOSThread()
	restored := false
	defer func() {
		// A thread that could not be restored ends with its goroutine.
		if restored {
			runtime.UnlockOSThread()
		}
	}()
	if _, err := unix.SetfsgidRetGid(int(gid)); err != nil {
		return err
	}
	if _, err := unix.SetfsuidRetUid(int(uid)); err != nil {
		return err
	}
	header, caps := c.header, c.caps
	err := unix.Capset(&header, &caps[0])
	if err == nil {
		err = fn()
	}
	_, err1 := unix.SetfsuidRetUid(0)
	_, err2 := unix.SetfsgidRetGid(0)
	header, caps = c.header, c.caps
	restored = unix.Capset(&header, &caps[0]) == nil && err1 == nil && err2 == nil
	return err
}
