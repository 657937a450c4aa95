// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	hostagent "github.com/container-offload/offload/agent/host"
	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/status"
)

// mounts are the directories of the HOST that are kept mounted: the tree of
// snapshots, those of the configuration, and those that were added since the
// machine's boot, which are kept in a file.
type mounts struct {
	cfg  *config.DPU
	host *connector
	log  *slog.Logger
	file string

	ctx context.Context // ends all of them

	mu    sync.Mutex
	all   []*mounted
	added []config.Mount
}

func newMounts(cfg *config.DPU, host *connector, log *slog.Logger) *mounts {
	return &mounts{cfg: cfg, host: host, log: log, file: filepath.Join(cfg.State.Dir, "mounts.json")}
}

// start begins to keep them mounted until ctx ends.
func (ms *mounts) start(ctx context.Context) error {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	ms.ctx = ctx
	text, err := os.ReadFile(ms.file)
	if err == nil {
		err = json.Unmarshal(text, &ms.added)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the mounts that were added: %w", err)
	}
	ms.keepLocked(config.Mount{
		Export: hostagent.TreeExport, Path: ms.cfg.RemoteFS.Tree, Mountpoint: ms.cfg.RemoteFS.Mountpoint,
	})
	for _, spec := range slices.Concat(ms.cfg.Mounts, ms.added) {
		if ms.findLocked(spec.Mountpoint) == nil {
			ms.keepLocked(spec)
		}
	}
	return nil
}

func (ms *mounts) keepLocked(spec config.Mount) *mounted {
	m := newMounted(spec, ms.host, ms.log, ms.left)
	ctx, cancel := context.WithCancel(ms.ctx)
	m.stop = cancel
	ms.all = append(ms.all, m)
	go m.keep(ctx)
	return m
}

// tree waits until the HOST's snapshots are mounted.
func (ms *mounts) tree(ctx context.Context) error {
	ms.mu.Lock()
	m := ms.findLocked(ms.cfg.RemoteFS.Mountpoint)
	ms.mu.Unlock()
	if m == nil {
		return fmt.Errorf("the HOST's snapshots are not mounted: %w", errdefs.ErrUnavailable)
	}
	return m.ready(ctx)
}

func (ms *mounts) findLocked(mountpoint string) *mounted {
	for _, m := range ms.all {
		if filepath.Clean(m.spec.Mountpoint) == filepath.Clean(mountpoint) {
			return m
		}
	}
	return nil
}

// list returns them now.
func (ms *mounts) list() []*mounted {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return slices.Clone(ms.all)
}

// wait waits until all have ended, after the context of start has.
func (ms *mounts) wait() {
	for _, m := range ms.list() {
		<-m.done
	}
}

// add keeps another directory mounted, until the next boot or remove. It fails,
// and leaves nothing behind, if the directory can't be mounted now.
func (ms *mounts) add(ctx context.Context, spec config.Mount) error {
	if err := spec.Validate(); err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	ms.mu.Lock()
	if ms.findLocked(spec.Mountpoint) != nil {
		ms.mu.Unlock()
		return fmt.Errorf("%s: %w", spec.Mountpoint, errdefs.ErrAlreadyExists)
	}
	m := ms.keepLocked(spec)
	ms.mu.Unlock()
	select {
	case <-m.settled:
	case <-ctx.Done():
	}
	if err := m.failure(); err != nil {
		ms.drop(m)
		var kind error = errdefs.ErrUnavailable
		if errors.Is(err, unix.ENOENT) {
			kind = errdefs.ErrNotFound
		}
		return fmt.Errorf("mount on %s: %w: %w", spec.Mountpoint, err, kind)
	}
	ms.mu.Lock()
	ms.added = append(ms.added, spec)
	err := ms.saveLocked()
	ms.mu.Unlock()
	if err != nil {
		ms.drop(m)
	}
	return err
}

// remove unmounts a directory that was added.
func (ms *mounts) remove(mountpoint string) error {
	ms.mu.Lock()
	m := ms.findLocked(mountpoint)
	same := func(spec config.Mount) bool { return m != nil && spec == m.spec }
	if m == nil || !slices.ContainsFunc(ms.added, same) {
		ms.mu.Unlock()
		if m != nil {
			return fmt.Errorf("%s is mounted because the configuration says so: %w", mountpoint, errdefs.ErrFailedPrecondition)
		}
		return fmt.Errorf("%s: %w", mountpoint, errdefs.ErrNotFound)
	}
	ms.added = slices.DeleteFunc(ms.added, same)
	err := ms.saveLocked()
	ms.mu.Unlock()
	ms.drop(m)
	return err
}

// left forgets a directory that was added and that somebody has unmounted, as with
// umount(8), and tells whether it was one. Those of the configuration come back.
func (ms *mounts) left(m *mounted) bool {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	added := slices.Index(ms.added, m.spec)
	if added < 0 {
		return false
	}
	ms.added = slices.Delete(ms.added, added, added+1)
	ms.all = slices.DeleteFunc(ms.all, func(o *mounted) bool { return o == m })
	if err := ms.saveLocked(); err != nil {
		ms.log.Warn("forget a mount", "mountpoint", m.spec.Mountpoint, "error", err)
	}
	return true
}

// drop ends a mount.
func (ms *mounts) drop(m *mounted) {
	m.stop()
	<-m.done
	ms.mu.Lock()
	defer ms.mu.Unlock()
	ms.all = slices.DeleteFunc(ms.all, func(o *mounted) bool { return o == m })
}

// saveLocked writes those that were added, so that the next daemon finds them.
func (ms *mounts) saveLocked() error {
	text, err := json.Marshal(ms.added)
	if err != nil {
		return fmt.Errorf("keep the mounts that were added: %w", err)
	}
	if err := os.WriteFile(ms.file+".new", text, 0o600); err != nil {
		return fmt.Errorf("keep the mounts that were added: %w", err)
	}
	if err := os.Rename(ms.file+".new", ms.file); err != nil {
		return fmt.Errorf("keep the mounts that were added: %w", err)
	}
	return nil
}

// report describes all of them.
func (ms *mounts) report() []status.Mount {
	var out []status.Mount
	for _, m := range ms.list() {
		out = append(out, m.report())
	}
	return out
}
