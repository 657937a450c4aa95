// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// coverOSRelease lays a private copy of /etc/os-release over it, for the HOST's
// content. Where the kernel has not what it takes (Linux 5.15) the daemon sees this
// machine's.
func coverOSRelease() error {
	path, err := filepath.EvalSymlinks("/etc/os-release")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find os-release: %w", err)
	}
	own, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read os-release: %w", err)
	}
	if err := os.WriteFile(osRelease, own, 0o644); err != nil {
		return fmt.Errorf("copy os-release: %w", err)
	}
	err = bindAlone(osRelease, path)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// bindAlone lays a file over another in this mount namespace only, though the mount
// below is shared with others: that one leaves its group of peers for a moment.
// What others mount below it within that moment does not arrive here.
func bindAlone(file, over string) error {
	below, shared, err := mountOf(over)
	if err != nil {
		return err
	}
	bind := func() error {
		if err := unix.Mount(file, over, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("lay %s over %s: %w", file, over, err)
		}
		return nil
	}
	if !shared {
		return bind()
	}
	// Two more mounts of the same: one to stay in the group, one to see whether the
	// kernel can bring a mount back into it.
	peer, trial := anchor+"/peer", anchor+"/trial"
	for _, dir := range []string{peer, trial} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		defer os.Remove(dir)
		if err := unix.Mount(below, dir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s once more: %w", below, err)
		}
		defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	}
	if err := errors.Join(leave(trial), joinGroup(trial, peer)); err != nil {
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	if err := leave(below); err != nil {
		return err
	}
	return errors.Join(bind(), joinGroup(below, peer))
}

// leave takes a mount out of its group of peers.
func leave(mount string) error {
	if err := unix.Mount("", mount, "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make %s private: %w", mount, err)
	}
	return nil
}

// joinGroup puts a private mount into the group of another of the same file system.
func joinGroup(mount, peer string) error {
	const flags = unix.MOVE_MOUNT_SET_GROUP
	if err := unix.MoveMount(unix.AT_FDCWD, peer, unix.AT_FDCWD, mount, flags); err != nil {
		return fmt.Errorf("share %s again: %w", mount, err)
	}
	return nil
}

// mountOf returns where the mount begins that a file lies on, and whether it is
// shared.
func mountOf(path string) (mountpoint string, shared bool, err error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &st); err != nil {
		return "", false, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	found, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return uint64(m.ID) != st.Mnt_id, uint64(m.ID) == st.Mnt_id
	})
	if err != nil || len(found) == 0 {
		return "", false, errors.Join(fmt.Errorf("find the mount of %s", path), err)
	}
	return found[0].Mountpoint, strings.Contains(found[0].Optional, "shared:"), nil
}
