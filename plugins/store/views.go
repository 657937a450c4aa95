// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/plugins/wire"
)

// Resolve makes the entry called name of the tree's directory dir exist, if it
// is one the store mounts on first access: dir is "snapshots" and name the id
// of an active snapshot or a view. It returns at once if the view is mounted,
// and nil for every directory that is not the store's.
//
// The error for a snapshot that does not exist, or has been committed, is both
// errdefs.ErrNotFound and fs.ErrNotExist.
func (s *Store) Resolve(ctx context.Context, dir, name string) error {
	if dir != wire.SnapshotsDir {
		return nil
	}
	id, err := wire.ParseID(name)
	if err != nil {
		return fmt.Errorf("resolve %q: %w: %w", dir+"/"+name, errdefs.ErrNotFound, os.ErrNotExist)
	}
	if s.mounted(id) {
		return nil
	}
	if _, err := s.key(id); err != nil { // before a lock is made for it
		return err
	}
	unlock, err := s.locks.lock(ctx, id)
	if err != nil {
		return fmt.Errorf("wait for snapshot %s: %w", id, err)
	}
	defer unlock()
	return s.mount(ctx, id)
}

// viewPath is where a snapshot's view is mounted.
func (s *Store) viewPath(id wire.ID) string {
	return filepath.Join(s.tree, wire.SnapshotsDir, id.String())
}

// mounted reports whether the view the store mounted is still what one finds at
// its path, which it is unless someone else unmounted it or covered it.
func (s *Store) mounted(id wire.ID) bool {
	s.mu.Lock()
	want, ok := s.views[id]
	s.mu.Unlock()
	if !ok {
		return false
	}
	got, err := mountID(s.viewPath(id))
	return err == nil && got == want
}

// mountID gives the kernel's id of the mount that path is on.
func mountID(path string) (uint64, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st); err != nil {
		return 0, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0, fmt.Errorf("mount id of %s: Linux 5.8 or newer is needed: %w", path, errdefs.ErrNotImplemented)
	}
	return st.Mnt_id, nil
}

// mount mounts the view of a snapshot unless it is mounted. The caller holds the
// snapshot's lock for writing.
func (s *Store) mount(ctx context.Context, id wire.ID) error {
	if s.mounted(id) {
		return nil
	}
	native, _, err := s.native(ctx, id)
	if err != nil {
		return err
	}
	if native, err = s.sharing(id, native); err != nil {
		return fmt.Errorf("mount snapshot %s: %w", id, err)
	}
	path := s.viewPath(id)
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return wire.Kind(fmt.Errorf("mount snapshot %s: %w", id, err))
	}
	if err := mount.All(native, path); err != nil {
		err = fmt.Errorf("mount snapshot %s: %w", id, err)
		return wire.Kind(errors.Join(err, detach(path), removeMountpoint(path)))
	}
	mnt, err := mountID(path)
	if err != nil {
		return errors.Join(fmt.Errorf("mount snapshot %s: %w", id, err), detach(path), removeMountpoint(path))
	}
	s.mu.Lock()
	s.views[id] = mnt
	s.mu.Unlock()
	return nil
}

// native gives the overlayfs snapshotter's mounts of a completely unpacked
// active snapshot or view, and its kind. The caller holds the snapshot's lock.
func (s *Store) native(ctx context.Context, id wire.ID) ([]mount.Mount, snapshots.Info, error) {
	key, err := s.key(id)
	if err != nil {
		return nil, snapshots.Info{}, err
	}
	_, info, err := s.lookup(ctx, key)
	if err != nil {
		return nil, snapshots.Info{}, err
	}
	if info.Kind == snapshots.KindCommitted {
		return nil, snapshots.Info{}, fmt.Errorf("snapshot %s (%s) is committed and has no view: %w: %w", id, key, errdefs.ErrNotFound, os.ErrNotExist)
	}
	if err := s.complete(id); err != nil {
		return nil, snapshots.Info{}, err
	}
	mounts, err := s.overlay.Mounts(ctx, key)
	if err != nil {
		return nil, snapshots.Info{}, fmt.Errorf("mounts of snapshot %s (%s): %w", id, key, err)
	}
	return mounts, info, nil
}

// sharing keeps an upper directory from being in two overlay mounts. If the
// snapshot may be mounted somewhere the store does not know of, as a bind of a
// view that has since been unmounted, it looks, and gives a bind of that one.
func (s *Store) sharing(id wire.ID, native []mount.Mount) ([]mount.Mount, error) {
	s.mu.Lock()
	strange := s.strange[id]
	s.mu.Unlock()
	upper := upperDir(native)
	if !strange || upper == "" {
		return native, nil
	}
	found, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		is := m.FSType == "overlay" && m.Root == "/" && slices.Contains(strings.Split(m.VFSOptions, ","), "upperdir="+upper)
		return !is, is
	})
	if err != nil {
		return nil, fmt.Errorf("look for other mounts of %s: %w", upper, err)
	}
	if len(found) == 0 {
		return native, nil
	}
	return []mount.Mount{{Type: "bind", Source: found[0].Mountpoint, Options: []string{"bind", "rw"}}}, nil
}

// upperDir gives the upper directory of an overlay mount, or nothing for mounts
// without one.
func upperDir(mounts []mount.Mount) string {
	if len(mounts) != 1 || mounts[0].Type != "overlay" {
		return ""
	}
	for _, o := range mounts[0].Options {
		if dir, ok := strings.CutPrefix(o, "upperdir="); ok {
			return dir
		}
	}
	return ""
}

// unmount takes a snapshot's view away if it is there. Whoever still uses it keeps
// it until he is done: the file server, which holds on to what the DPU has looked
// at, lets go when it sees that the mount is gone. The caller holds the snapshot's
// lock for writing.
func (s *Store) unmount(id wire.ID) error {
	s.mu.Lock()
	_, known := s.views[id]
	s.mu.Unlock()
	if !known {
		return nil
	}
	s.release(wire.SnapshotsDir, id.String())
	if err := detach(s.viewPath(id)); err != nil {
		return fmt.Errorf("detach snapshot %s: %w", id, err)
	}
	return s.left(id)
}

// leave is unmount for a view no one uses. One that is in use stays, and the
// error is EBUSY.
func (s *Store) leave(id wire.ID) error {
	s.mu.Lock()
	_, known := s.views[id]
	s.mu.Unlock()
	if !known {
		return nil
	}
	s.release(wire.SnapshotsDir, id.String())
	path := s.viewPath(id)
	if err := unmountBusy(path); err != nil {
		return fmt.Errorf("unmount snapshot %s: %w", id, &os.PathError{Op: "umount", Path: path, Err: err})
	}
	return s.left(id)
}

// left records that a snapshot's view is gone, and removes where it was.
func (s *Store) left(id wire.ID) error {
	s.mu.Lock()
	delete(s.views, id)
	s.strange[id] = true
	s.mu.Unlock()
	if err := removeMountpoint(s.viewPath(id)); err != nil {
		return fmt.Errorf("unmount snapshot %s: %w", id, err)
	}
	return nil
}

// unmountBusy unmounts path, and gives those who are about to leave it some
// milliseconds to do so. A path that is not mounted is no error.
func unmountBusy(path string) error {
	for wait := time.Millisecond; ; wait *= 2 {
		err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || wait > 16*time.Millisecond {
			return err
		}
		time.Sleep(wait)
	}
}

// detach removes whatever is mounted at path, all layers of it.
func detach(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return &os.PathError{Op: "umount", Path: path, Err: err}
		}
	}
}

// removeMountpoint removes the empty directory a view was mounted on. It never
// removes anything else.
func removeMountpoint(path string) error {
	if err := unix.Rmdir(path); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "rmdir", Path: path, Err: err}
	}
	return nil
}

// Mounted returns how many snapshots the store has mounted in its tree.
func (s *Store) Mounted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.views)
}
