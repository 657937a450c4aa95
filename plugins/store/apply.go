// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/plugins/wire"
)

// labelParent is on a snapshot containerd unpacks before its parent is there. It
// is given the parent when it is committed.
const labelParent = "containerd.io/snapshot/parent-chain-id"

// Apply unpacks the layer that r gives, as it arrives, into an active snapshot.
// r must give exactly the blob req names and then end.
//
// If it fails, what has been unpacked stays out of reach: the snapshot can only
// be removed. The error tells what was expected and what came, and a full disk
// is wire.ErrNoSpace. If r did not end when Apply returns, a Read of it may
// still be going on; its owner ends it.
func (s *Store) Apply(ctx context.Context, req wire.ApplyRequest, r io.Reader) (wire.Result, error) {
	unlock, err := s.locks.lock(ctx, req.Snapshot)
	if err != nil {
		return wire.Result{}, fmt.Errorf("wait for snapshot %s: %w", req.Snapshot, err)
	}
	defer unlock()
	native, info, err := s.native(ctx, req.Snapshot)
	if err != nil {
		return wire.Result{}, fmt.Errorf("unpack layer %s: %w", req.Digest, err)
	}
	result, err := s.apply(ctx, req, native, info, r)
	if err != nil {
		return wire.Result{}, wire.Kind(fmt.Errorf("unpack layer %s into snapshot %s (%s): %w", req.Digest, req.Snapshot, info.Name, err))
	}
	return result, nil
}

func (s *Store) apply(ctx context.Context, req wire.ApplyRequest, native []mount.Mount, info snapshots.Info, r io.Reader) (wire.Result, error) {
	if info.Kind != snapshots.KindActive {
		return wire.Result{}, fmt.Errorf("it is not active: %w", errdefs.ErrFailedPrecondition)
	}
	if err := s.begin(req.Snapshot); err != nil {
		return wire.Result{}, err
	}
	dir, opts, err := s.target(req, native, info)
	if err != nil {
		return wire.Result{}, err
	}
	result, err := unpack(ctx, req, dir, opts, r)
	if err != nil {
		s.discard(req.Snapshot, dir)
		return wire.Result{}, err
	}
	if err := s.end(req.Snapshot); err != nil {
		return wire.Result{}, err
	}
	return result, nil
}

// unpack unpacks the blob r gives into dir.
func unpack(ctx context.Context, req wire.ApplyRequest, dir string, opts []archive.ApplyOpt, r io.Reader) (wire.Result, error) {
	l, err := openLayer(req.MediaType, newBlob(r, req.Digest, req.Size))
	if err != nil {
		return wire.Result{}, err
	}
	defer l.close()
	if _, err := archive.Apply(ctx, dir, l, opts...); err != nil {
		return wire.Result{}, err
	}
	// What follows the archive counts for both digests, and only at its end
	// the blob is known to be the right one.
	if _, err := io.Copy(io.Discard, l); err != nil {
		return wire.Result{}, err
	}
	if req.Sync {
		if err := syncFilesystem(dir); err != nil {
			return wire.Result{}, err
		}
	}
	return l.result(), nil
}

// discard removes what was unpacked into dir before unpacking failed. It matters
// most when that was because the disk is full: removing the snapshot takes some
// bytes, too.
func (s *Store) discard(id wire.ID, dir string) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	if err != nil {
		s.log.Warn("a layer that failed to unpack was not discarded", "snapshot", id.String(), "error", err)
	}
}

// target decides where a layer is unpacked and how. It goes below the overlay,
// straight into the upper directory. That must not change below an overlay that
// is mounted, so the view is unmounted, and if it is in use the layer goes
// through it.
func (s *Store) target(req wire.ApplyRequest, native []mount.Mount, info snapshots.Info) (dir string, opts []archive.ApplyOpt, err error) {
	asOverlay := archive.WithConvertWhiteout(archive.OverlayConvertWhiteout)
	upper := upperDir(native)
	switch {
	case upper != "":
		if err := s.leave(req.Snapshot); errors.Is(err, unix.EBUSY) {
			return s.viewPath(req.Snapshot), nil, nil
		} else if err != nil {
			return "", nil, err
		}
		return upper, []archive.ApplyOpt{asOverlay, archive.WithParents(lowerDirs(native))}, nil
	case req.Layered || info.Labels[labelParent] != "":
		return native[0].Source, []archive.ApplyOpt{asOverlay}, nil
	}
	return native[0].Source, nil, nil
}

// lowerDirs gives the lower directories of an overlay mount, the uppermost first.
func lowerDirs(mounts []mount.Mount) []string {
	for _, o := range mounts[0].Options {
		if dirs, ok := strings.CutPrefix(o, "lowerdir="); ok {
			return strings.Split(dirs, ":")
		}
	}
	return nil
}

func syncFilesystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: dir, Err: err}
	}
	return nil
}
