// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/client"
)

// rebind gives those who have bound a part of an earlier mount elsewhere the same
// part of this one: dockerd binds the root of every container that runs, and would
// have none for docker cp after a restart of this daemon. Mounts of other
// namespaces follow if they are shared. Files that were open there stay lost.
func (m *mounted) rebind() error {
	dead, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		return i.FSType != client.FSType || i.Source != m.source() || i.Root == "/" || !isDead(i.Mountpoint), false
	})
	if err != nil {
		return fmt.Errorf("look for what was bound elsewhere: %w", err)
	}
	var errs []error
	for _, i := range dead {
		if err := m.rebindOne(i); err != nil {
			errs = append(errs, fmt.Errorf("bind %s of the HOST on %s again: %w", i.Root, i.Mountpoint, err))
		}
	}
	return errors.Join(errs...)
}

// rebindOne replaces one dead bind. If the file is gone on the HOST, nothing is
// left in its place.
func (m *mounted) rebindOne(i *mountinfo.Info) error {
	if err := unix.Unmount(i.Mountpoint, unix.MNT_DETACH); err != nil {
		return err
	}
	if err := unix.Mount(filepath.Join(m.spec.Mountpoint, i.Root), i.Mountpoint, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	flags := uintptr(0)
	for option := range strings.SplitSeq(i.Options, ",") {
		flags |= bindFlags[option]
	}
	if flags == 0 {
		return nil
	}
	return unix.Mount("", i.Mountpoint, "", unix.MS_BIND|unix.MS_REMOUNT|flags, "")
}

// bindFlags are the options that a bind has of its own.
var bindFlags = map[string]uintptr{
	"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
	"noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME,
}

// isDead tells whether a mount is one that nobody serves any more. The kernel
// answers other questions about it from what it remembers.
func isDead(path string) bool {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED) || errors.Is(err, unix.EIO)
}
