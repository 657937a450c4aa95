// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"

	"github.com/container-offload/offload/plugins/wire"
)

// failIfLocked makes opening the metadata of a store that is in use an error
// rather than a wait without end.
func failIfLocked(o *bolt.Options) error {
	o.Timeout = 5 * time.Second
	return nil
}

// answer is what the store says a snapshot is mounted with: a bind of its path,
// relative to the tree.
func answer(id wire.ID, kind snapshots.Kind) []mount.Mount {
	mode := "rw"
	if kind == snapshots.KindView {
		mode = "ro"
	}
	return []mount.Mount{{Type: "bind", Source: id.Source(), Options: []string{"rbind", mode}}}
}

// Prepare makes a writable snapshot on top of parent, or of nothing if parent
// is empty.
func (s *Store) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return s.create(ctx, key, parent, opts, s.overlay.Prepare)
}

// View makes a read-only snapshot of parent.
func (s *Store) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return s.create(ctx, key, parent, opts, s.overlay.View)
}

type createFunc func(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error)

func (s *Store) create(ctx context.Context, key, parent string, opts []snapshots.Opt, begin createFunc) ([]mount.Mount, error) {
	if err := validateNew(key, parent, opts); err != nil {
		return nil, err
	}
	if _, err := begin(ctx, key, parent, opts...); err != nil {
		return nil, wire.Kind(fmt.Errorf("create snapshot %q: %w", key, err))
	}
	id, info, err := s.lookup(ctx, key)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.keys[id] = key
	s.mu.Unlock()
	return answer(id, info.Kind), nil
}

// Mounts says how an active snapshot or a view is mounted. The source is
// relative to the tree.
func (s *Store) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	if err := validateKey("key", key); err != nil {
		return nil, err
	}
	id, info, err := s.lookup(ctx, key)
	if err != nil {
		return nil, err
	}
	if info.Kind == snapshots.KindCommitted {
		return nil, fmt.Errorf("mounts of snapshot %q: it is committed: %w", key, errdefs.ErrFailedPrecondition)
	}
	return answer(id, info.Kind), nil
}

// Commit makes the active snapshot key a committed one called name. Its view is
// unmounted and its id can no longer be resolved.
func (s *Store) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	if err := validateNew(name, "", opts); err != nil {
		return err
	}
	if err := validateKey("key", key); err != nil {
		return err
	}
	id, unlock, err := s.lockKey(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.complete(id); err != nil {
		return fmt.Errorf("commit snapshot %q: %w", key, err)
	}
	if err := s.committable(ctx, name, key); err != nil {
		return fmt.Errorf("commit snapshot %q as %q: %w", key, name, err)
	}
	if err := s.unmount(id); err != nil {
		return fmt.Errorf("commit snapshot %q: %w", key, err)
	}
	if err := s.overlay.Commit(ctx, name, key, opts...); err != nil {
		return wire.Kind(fmt.Errorf("commit snapshot %q as %q: %w", key, name, err))
	}
	s.mu.Lock()
	s.keys[id] = name
	s.mu.Unlock()
	return nil
}

// committable foresees why a commit would fail, so that one that does fail does
// not unmount the view first: a container may be running on it.
func (s *Store) committable(ctx context.Context, name, key string) error {
	return s.meta.WithTransaction(ctx, false, func(ctx context.Context) error {
		if _, _, _, err := storage.GetInfo(ctx, name); err == nil {
			return fmt.Errorf("snapshot %q: %w", name, errdefs.ErrAlreadyExists)
		}
		_, info, _, err := storage.GetInfo(ctx, key)
		if err != nil {
			return err
		}
		if info.Kind != snapshots.KindActive {
			return fmt.Errorf("it is not active: %w", errdefs.ErrFailedPrecondition)
		}
		return nil
	})
}

// Remove forgets a snapshot. Its view is unmounted first. Its disk space is
// freed by the next [Store.Cleanup].
func (s *Store) Remove(ctx context.Context, key string) error {
	if err := validateKey("key", key); err != nil {
		return err
	}
	id, unlock, err := s.lockKey(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.unmount(id); err != nil {
		return fmt.Errorf("remove snapshot %q: %w", key, err)
	}
	if err := s.withReserve(func() error { return s.overlay.Remove(ctx, key) }); err != nil {
		return wire.Kind(fmt.Errorf("remove snapshot %q: %w", key, err))
	}
	s.mu.Lock()
	delete(s.keys, id)
	delete(s.strange, id)
	s.mu.Unlock()
	return nil
}

// Stat tells what is known of a snapshot.
func (s *Store) Stat(ctx context.Context, key string) (snapshots.Info, error) {
	if err := validateKey("key", key); err != nil {
		return snapshots.Info{}, err
	}
	info, err := s.overlay.Stat(ctx, key)
	if err != nil {
		return snapshots.Info{}, fmt.Errorf("stat snapshot %q: %w", key, err)
	}
	return info, nil
}

// Update changes a snapshot's labels, all of them or those in fieldpaths.
func (s *Store) Update(ctx context.Context, info snapshots.Info, fieldpaths ...string) (snapshots.Info, error) {
	if err := validateKey("key", info.Name); err != nil {
		return snapshots.Info{}, err
	}
	if err := validateLabels(info.Labels); err != nil {
		return snapshots.Info{}, err
	}
	if len(fieldpaths) > maxLabels {
		return snapshots.Info{}, fmt.Errorf("%d field paths, at most %d: %w", len(fieldpaths), maxLabels, errdefs.ErrInvalidArgument)
	}
	now, err := s.overlay.Update(ctx, info, fieldpaths...)
	if err != nil {
		return snapshots.Info{}, wire.Kind(fmt.Errorf("update snapshot %q: %w", info.Name, err))
	}
	return now, nil
}

// Usage tells how much a snapshot takes on disk, without its parents.
func (s *Store) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	if err := validateKey("key", key); err != nil {
		return snapshots.Usage{}, err
	}
	usage, err := s.overlay.Usage(ctx, key)
	if err != nil {
		return snapshots.Usage{}, fmt.Errorf("usage of snapshot %q: %w", key, err)
	}
	return usage, nil
}

// Walk calls fn for each snapshot that matches one of the filters, or for each
// if there are none. fn may use the store: no transaction is open meanwhile.
func (s *Store) Walk(ctx context.Context, fn snapshots.WalkFunc, filters ...string) error {
	var all []snapshots.Info
	err := s.overlay.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		all = append(all, info)
		return ctx.Err()
	}, filters...)
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("walk snapshots: %w", err)
	}
	for _, info := range all {
		if err := fn(ctx, info); err != nil {
			return err
		}
	}
	return nil
}

// Cleanup frees the disk space of removed snapshots.
func (s *Store) Cleanup(ctx context.Context) error {
	err := s.withReserve(func() error { return s.overlay.(snapshots.Cleaner).Cleanup(ctx) })
	if err != nil && !errdefs.IsNotFound(err) {
		return wire.Kind(fmt.Errorf("clean up removed snapshots: %w", err))
	}
	return s.keepReserve()
}
