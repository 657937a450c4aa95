// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/errdefs"

	"github.com/container-offload/offload/plugins/wire"
)

// Options say where a store lives.
type Options struct {
	// Root is the directory of the layers and their metadata. It must be on a
	// filesystem that can hold overlayfs upper directories.
	Root string
	// Tree is the directory below which views are mounted, in snapshots/<id>.
	Tree string
	// Release, if set, is called with "snapshots" and the id before a view is
	// unmounted, so that a file server lets go of what it holds open in it. A
	// view that stays busy all the same is detached lazily.
	Release func(dir, name string)
	// Log is where the store tells what it did on its own account. The default
	// is slog.Default().
	Log *slog.Logger
}

// Store is the snapshot store of one HOST. It is a containerd snapshotter whose
// mounts are paths in its tree. All methods are safe for concurrent use.
//
// Exactly one Store may use a root at a time.
type Store struct {
	root, tree string
	release    func(dir, name string)
	log        *slog.Logger

	meta    *storage.MetaStore
	overlay snapshots.Snapshotter
	locks   locks

	mu sync.Mutex
	// keys has the key of every snapshot there is, active or not.
	keys map[wire.ID]string
	// views has the kernel's mount id of every view the store has mounted.
	views map[wire.ID]uint64
	// strange has the snapshots of which a mount may exist that the store does
	// not know: those from before it started, and those it unmounted while
	// others may still have had them bound elsewhere.
	strange map[wire.ID]bool
}

var (
	_ snapshots.Snapshotter = (*Store)(nil)
	_ snapshots.Cleaner     = (*Store)(nil)
)

// New opens the store at opts.Root, making it if there is none, takes over the
// views an earlier process left mounted in the tree, and unmounts those whose
// snapshot is gone.
func New(ctx context.Context, opts Options) (_ *Store, err error) {
	s := &Store{
		root:    opts.Root,
		tree:    opts.Tree,
		release: opts.Release,
		log:     opts.Log,
		keys:    map[wire.ID]string{},
		views:   map[wire.ID]uint64{},
		strange: map[wire.ID]bool{},
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.release == nil {
		s.release = func(string, string) {}
	}
	if err := s.directories(); err != nil {
		return nil, err
	}
	if err := s.keepReserve(); err != nil {
		return nil, err
	}
	if s.meta, err = storage.NewMetaStore(filepath.Join(s.root, "metadata.db"), failIfLocked); err != nil {
		return nil, fmt.Errorf("open snapshot metadata in %s: %w", s.root, err)
	}
	defer func() {
		if err != nil {
			_ = s.meta.Close()
		}
	}()
	s.overlay, err = overlay.NewSnapshotter(s.root,
		overlay.WithMetaStore(s.meta),
		overlay.AsynchronousRemove,
		// A container may rename directories of its image, as on any other
		// filesystem. Layers are made from merged views, so what this leaves in
		// an upper directory is not seen outside the store.
		overlay.WithMountOptions([]string{"redirect_dir=on"}))
	if err != nil {
		return nil, fmt.Errorf("open overlayfs snapshots in %s: %w", s.root, err)
	}
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	if err := s.recover(); err != nil {
		return nil, err
	}
	return s, nil
}

// directories makes the root and the tree and spells them the way the kernel
// does in its table of mounts.
func (s *Store) directories() error {
	for _, dir := range []*string{&s.root, &s.tree} {
		if !filepath.IsAbs(*dir) {
			return fmt.Errorf("snapshot store directory %q is not absolute: %w", *dir, errdefs.ErrInvalidArgument)
		}
		// The parent is others' too, such as containers with a user namespace.
		err := os.MkdirAll(filepath.Dir(*dir), 0o711)
		if err == nil {
			err = os.Mkdir(*dir, 0o700)
		}
		if err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make snapshot store directory: %w", err)
		}
		spelt, err := filepath.EvalSymlinks(*dir)
		if err != nil {
			return fmt.Errorf("find snapshot store directory: %w", err)
		}
		*dir = spelt
	}
	if err := os.MkdirAll(filepath.Join(s.tree, wire.SnapshotsDir), 0o700); err != nil {
		return fmt.Errorf("make snapshot tree: %w", err)
	}
	return nil
}

// load reads which snapshots there are.
func (s *Store) load(ctx context.Context) error {
	var ids map[string]string
	err := s.meta.WithTransaction(ctx, false, func(ctx context.Context) (err error) {
		ids, err = storage.IDMap(ctx)
		return err
	})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("read snapshot metadata in %s: %w", s.root, err)
	}
	for name, key := range ids {
		id, err := wire.ParseID(name)
		if err != nil {
			return fmt.Errorf("read snapshot metadata in %s: %w", s.root, err)
		}
		s.keys[id] = key
		s.strange[id] = true
	}
	return nil
}

// lookup finds the snapshot with the given key.
func (s *Store) lookup(ctx context.Context, key string) (id wire.ID, info snapshots.Info, err error) {
	err = s.meta.WithTransaction(ctx, false, func(ctx context.Context) error {
		name, i, _, err := storage.GetInfo(ctx, key)
		if err != nil {
			return err
		}
		info = i
		id, err = wire.ParseID(name)
		return err
	})
	if err != nil {
		return 0, snapshots.Info{}, fmt.Errorf("look up snapshot %q: %w", key, err)
	}
	return id, info, nil
}

// lockKey locks the snapshot with the given key for change.
func (s *Store) lockKey(ctx context.Context, key string) (id wire.ID, unlock func(), err error) {
	for {
		if id, _, err = s.lookup(ctx, key); err != nil {
			return 0, nil, err
		}
		if unlock, err = s.locks.lock(ctx, id); err != nil {
			return 0, nil, fmt.Errorf("wait for snapshot %q: %w", key, err)
		}
		var now wire.ID
		if now, _, err = s.lookup(ctx, key); err != nil {
			unlock()
			return 0, nil, err
		}
		if now == id {
			return id, unlock, nil
		}
		unlock() // removed and made anew while waiting
	}
}

// key gives the key of a snapshot.
func (s *Store) key(id wire.ID) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, ok := s.keys[id]
	if !ok {
		return "", fmt.Errorf("snapshot %s: %w: %w", id, errdefs.ErrNotFound, os.ErrNotExist)
	}
	return key, nil
}

// Close ends the use of the store. What is mounted stays mounted, for the
// containers that run on it and the next process that opens the store. Close
// may be called more than once.
func (s *Store) Close() error {
	if err := s.meta.Close(); err != nil {
		return fmt.Errorf("close snapshot metadata in %s: %w", s.root, err)
	}
	return nil
}

// UnmountAll unmounts every view, for a HOST that stops offering snapshots. It
// goes on past failures and reports them all. The store stays usable.
func (s *Store) UnmountAll(ctx context.Context) error {
	s.mu.Lock()
	ids := make([]wire.ID, 0, len(s.views))
	for id := range s.views {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	var errs []error
	for _, id := range ids {
		unlock, err := s.locks.lock(ctx, id)
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("wait for snapshot %s: %w", id, err))...)
		}
		if err := s.unmount(id); err != nil {
			errs = append(errs, err)
		}
		unlock()
	}
	return errors.Join(errs...)
}
