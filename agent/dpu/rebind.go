// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"errors"
	"fmt"
	"os"
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

// rebindOne replaces one dead bind, without a moment in which the directory below
// it can be seen: a shim would take that for the root of its container. If the file
// is gone on the HOST, nothing is left in its place.
func (m *mounted) rebindOne(i *mountinfo.Info) error {
	err := m.bindBeneath(i)
	if err == nil {
		return unix.Unmount(i.Mountpoint, unix.MNT_DETACH)
	}
	m.log.Debug("bind beneath a dead mount", "mountpoint", i.Mountpoint, "error", err)
	return m.bindAfter(i)
}

// bindBeneath makes the bind under the dead one. It needs Linux 6.5.
func (m *mounted) bindBeneath(i *mountinfo.Info) error {
	from, err := m.openBelow(i.Root)
	if err != nil {
		return err
	}
	defer from.Close()
	fd, err := unix.OpenTree(int(from.Fd()), "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(fd)
	var attr unix.MountAttr
	for option := range strings.SplitSeq(i.Options, ",") {
		attr.Attr_set |= bindAttrs[option]
	}
	if attr.Attr_set&unix.MOUNT_ATTR_NOATIME != 0 {
		attr.Attr_clr = unix.MOUNT_ATTR__ATIME
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	err = unix.MoveMount(fd, "", unix.AT_FDCWD, i.Mountpoint, unix.MOVE_MOUNT_F_EMPTY_PATH|moveMountBeneath)
	return os.NewSyscallError("move_mount", err)
}

// moveMountBeneath is MOVE_MOUNT_BENEATH of linux/mount.h.
const moveMountBeneath = 0x200

// bindAttrs are the options that a bind has of its own, as mount_setattr(2) has
// them. That of relatime is 0.
var bindAttrs = map[string]uint64{
	"ro": unix.MOUNT_ATTR_RDONLY, "nosuid": unix.MOUNT_ATTR_NOSUID, "nodev": unix.MOUNT_ATTR_NODEV,
	"noexec": unix.MOUNT_ATTR_NOEXEC, "noatime": unix.MOUNT_ATTR_NOATIME, "nodiratime": unix.MOUNT_ATTR_NODIRATIME,
}

// bindAfter makes the bind once the dead one is gone.
func (m *mounted) bindAfter(i *mountinfo.Info) error {
	if err := unix.Unmount(i.Mountpoint, unix.MNT_DETACH); err != nil {
		return err
	}
	from, err := m.openBelow(i.Root)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", from.Fd()), i.Mountpoint, "", unix.MS_BIND, ""); err != nil {
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

// openBelow opens what is at a path of the mount. The HOST may show symbolic links on
// the way there now; none is followed, nor is anything of another mount taken.
func (m *mounted) openBelow(path string) (*os.File, error) {
	root, err := unix.Open(m.spec.Mountpoint, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: m.spec.Mountpoint, Err: err}
	}
	defer unix.Close(root)
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	for {
		fd, err := unix.Openat2(root, strings.TrimPrefix(path, "/"), &how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path), nil
		case err != unix.EINTR && err != unix.EAGAIN:
			return nil, &os.PathError{Op: "openat2", Path: path, Err: err}
		}
	}
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
