// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/container-offload/offload/plugins/wire"
)

// recover makes the store know what is mounted in its tree. A view that is what
// the store would mount there is taken over; everything else is taken away.
func (s *Store) recover() error {
	dir := filepath.Join(s.tree, wire.SnapshotsDir)
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("read mounts below %s: %w", dir, err)
	}
	found := map[string][]*mountinfo.Info{}
	for _, m := range mounts {
		if filepath.Dir(m.Mountpoint) == dir {
			found[m.Mountpoint] = append(found[m.Mountpoint], m)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read snapshot tree: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if err := s.recoverView(path, found[path]); err != nil {
			return fmt.Errorf("recover %s: %w", path, err)
		}
	}
	return nil
}

// recoverView takes over what is mounted at path, or unmounts it.
func (s *Store) recoverView(path string, mounts []*mountinfo.Info) error {
	id, err := wire.ParseID(filepath.Base(path))
	if err == nil && len(mounts) == 1 && s.expected(id, mounts[0]) {
		mnt, err := mountID(path)
		if err != nil {
			return err
		}
		if mnt == uint64(mounts[0].ID) {
			s.views[id] = mnt
			return nil
		}
	}
	if len(mounts) > 0 {
		s.log.Info("unmounting a view without a snapshot", "path", path)
	}
	s.release(wire.SnapshotsDir, filepath.Base(path))
	for range mounts {
		if err := unmountBusy(path); err != nil {
			if err := detach(path); err != nil {
				return err
			}
		}
	}
	return removeMountpoint(path)
}

// expected reports whether m is what the store mounts as the view of snapshot
// id now.
func (s *Store) expected(id wire.ID, m *mountinfo.Info) bool {
	native, _, err := s.native(context.Background(), id)
	if err != nil || len(native) != 1 {
		return false
	}
	want := native[0]
	if want.Type == "overlay" {
		if m.FSType != "overlay" || m.Root != "/" {
			return false
		}
		has := strings.Split(m.VFSOptions, ",")
		upper := upperDir(native)
		if upper == "" {
			return !slices.ContainsFunc(has, func(o string) bool { return strings.HasPrefix(o, "upperdir=") })
		}
		return slices.Contains(has, "upperdir="+upper)
	}
	// The root of a bind is its source's path within its filesystem, which is
	// the source without the filesystem's mountpoint in front of it.
	if !strings.HasSuffix(want.Source, m.Root) {
		return false
	}
	readOnly := slices.Contains(strings.Split(m.Options, ","), "ro")
	return readOnly == slices.Contains(want.Options, "ro")
}
