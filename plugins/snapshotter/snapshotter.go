// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/container-offload/offload/plugins/wire"
)

// Options say how a snapshotter names what is on the HOST.
type Options struct {
	// Root is where the DPU has the HOST's tree mounted: an absolute path.
	Root string
	// Ready, if not nil, waits until the HOST's tree is mounted there. What is answered as a mount is ready for use:
	// dockerd keeps a new snapshot for ever whose mount fails.
	Ready func(context.Context) error
}

// Snapshotter is a containerd snapshotter whose snapshots are in the HOST's
// store. It is safe for concurrent use. Errors are of containerd's kinds;
// errdefs.ErrUnavailable is a HOST that cannot be reached.
//
// A connection that breaks is opened anew. A call it broke is made again, and
// if the first one turns out to have been carried out, its outcome is given.
type Snapshotter struct {
	root  string
	ready func(context.Context) error
	link  *connection
	known known
}

var (
	_ snapshots.Snapshotter = (*Snapshotter)(nil)
	_ snapshots.Cleaner     = (*Snapshotter)(nil)
)

// New gives a snapshotter for the store that open reaches. It opens nothing yet.
func New(open wire.Open, opts Options) (*Snapshotter, error) {
	if !filepath.IsAbs(opts.Root) {
		return nil, fmt.Errorf("snapshotter root %q is not absolute: %w", opts.Root, errdefs.ErrInvalidArgument)
	}
	s := &Snapshotter{root: filepath.Clean(opts.Root), ready: opts.Ready, link: newConnection(open)}
	if s.ready == nil {
		s.ready = func(context.Context) error { return nil }
	}
	return s, nil
}

// Stat tells what is known of a snapshot. It may be some seconds old, but not older than what was last done to that
// snapshot here.
func (s *Snapshotter) Stat(ctx context.Context, key string) (snapshots.Info, error) {
	info, changes, ok := s.known.get(key, time.Now())
	if ok {
		return info, nil
	}
	var r *snapshotsapi.StatSnapshotResponse
	err := s.link.call(ctx, func(ctx context.Context, c snapshotsapi.TTRPCSnapshotsClient, _ bool) (err error) {
		r, err = c.Stat(ctx, &snapshotsapi.StatSnapshotRequest{Key: key})
		return err
	})
	if err != nil {
		return snapshots.Info{}, about("stat snapshot", key, err)
	}
	if info, err = namedInfo(key, r.GetInfo()); err == nil {
		s.known.put(info, changes, time.Now())
	}
	return info, err
}

// Update changes a snapshot's labels, all of them or those in fieldpaths.
func (s *Snapshotter) Update(ctx context.Context, info snapshots.Info, fieldpaths ...string) (snapshots.Info, error) {
	defer s.known.change(info.Name)()
	var r *snapshotsapi.UpdateSnapshotResponse
	err := s.link.call(ctx, func(ctx context.Context, c snapshotsapi.TTRPCSnapshotsClient, _ bool) (err error) {
		r, err = c.Update(ctx, &snapshotsapi.UpdateSnapshotRequest{
			Info:       proxy.InfoToProto(info),
			UpdateMask: &fieldmaskpb.FieldMask{Paths: fieldpaths},
		})
		return err
	})
	if err != nil {
		return snapshots.Info{}, about("update snapshot", info.Name, err)
	}
	return namedInfo(info.Name, r.GetInfo())
}

// Usage tells how much a snapshot takes on the HOST's disk, without its parents.
func (s *Snapshotter) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	var r *snapshotsapi.UsageResponse
	err := s.link.call(ctx, func(ctx context.Context, c snapshotsapi.TTRPCSnapshotsClient, _ bool) (err error) {
		r, err = c.Usage(ctx, &snapshotsapi.UsageRequest{Key: key})
		return err
	})
	if err != nil {
		return snapshots.Usage{}, about("usage of snapshot", key, err)
	}
	return validUsage(r)
}

// Mounts says how an active snapshot or a view is mounted on the DPU.
func (s *Snapshotter) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	var r *snapshotsapi.MountsResponse
	err := s.link.call(ctx, func(ctx context.Context, c snapshotsapi.TTRPCSnapshotsClient, _ bool) (err error) {
		r, err = c.Mounts(ctx, &snapshotsapi.MountsRequest{Key: key})
		return err
	})
	if err != nil {
		return nil, about("mounts of snapshot", key, err)
	}
	if err := s.ready(ctx); err != nil {
		return nil, about("mounts of snapshot", key, wire.Flat(err))
	}
	return s.mounts(r.GetMounts(), snapshots.KindUnknown)
}

// Prepare makes a writable snapshot on top of parent, or of nothing if parent
// is empty.
func (s *Snapshotter) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return s.create(ctx, snapshots.KindActive, key, parent, opts)
}

// View makes a read-only snapshot of parent.
func (s *Snapshotter) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	return s.create(ctx, snapshots.KindView, key, parent, opts)
}

func (s *Snapshotter) create(ctx context.Context, kind snapshots.Kind, key, parent string, opts []snapshots.Opt) ([]mount.Mount, error) {
	base, err := gather(opts)
	if err != nil {
		return nil, err
	}
	defer s.known.change(key)()
	var answer interface{ GetMounts() []*mountProto }
	err = s.link.call(ctx, func(ctx context.Context, c snapshotsapi.TTRPCSnapshotsClient, again bool) (err error) {
		if kind == snapshots.KindView {
			answer, err = c.View(ctx, &snapshotsapi.ViewSnapshotRequest{Key: key, Parent: parent, Labels: base.Labels})
		} else {
			answer, err = c.Prepare(ctx, &snapshotsapi.PrepareSnapshotRequest{Key: key, Parent: parent, Labels: base.Labels})
		}
		if again && errdefs.IsAlreadyExists(remote(err)) && s.made(ctx, c, kind, key, parent) {
			answer, err = c.Mounts(ctx, &snapshotsapi.MountsRequest{Key: key})
		}
		return err
	})
	if err != nil {
		return nil, about("create snapshot", key, err)
	}
	mounts, err := s.mounts(answer.GetMounts(), kind)
	if err != nil {
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		return nil, about("create snapshot", key, wire.Flat(errors.Join(err, s.Remove(context.WithoutCancel(ctx), key))))
	}
	return mounts, nil
}

// made reports whether there is such a snapshot as a call that broke would have
// made. containerd never uses a key twice.
func (s *Snapshotter) made(ctx context.Context, c snapshotsapi.TTRPCSnapshotsClient, kind snapshots.Kind, key, parent string) bool {
	r, err := c.Stat(ctx, &snapshotsapi.StatSnapshotRequest{Key: key})
	if err != nil {
		return false
	}
	info, err := namedInfo(key, r.GetInfo())
	return err == nil && info.Kind == kind && info.Parent == parent
}

// Commit makes the active snapshot key a committed one called name.
func (s *Snapshotter) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	base, err := gather(opts)
	if err != nil {
		return err
	}
	defer s.known.change(key)()
	defer s.known.change(name)()
	err = s.link.call(ctx, func(ctx context.Context, c snapshotsapi.TTRPCSnapshotsClient, again bool) error {
		_, err := c.Commit(ctx, &snapshotsapi.CommitSnapshotRequest{Name: name, Key: key, Parent: base.Parent, Labels: base.Labels})
		if again && err != nil && s.committed(ctx, c, name, key) {
			return nil
		}
		return err
	})
	if err != nil {
		return about("commit snapshot", key, err)
	}
	return nil
}

// committed reports whether a commit that broke was carried out: its key is
// gone and its name is there.
func (s *Snapshotter) committed(ctx context.Context, c snapshotsapi.TTRPCSnapshotsClient, name, key string) bool {
	_, err := c.Stat(ctx, &snapshotsapi.StatSnapshotRequest{Key: key})
	if !errdefs.IsNotFound(remote(err)) {
		return false
	}
	r, err := c.Stat(ctx, &snapshotsapi.StatSnapshotRequest{Key: name})
	if err != nil {
		return false
	}
	info, err := namedInfo(name, r.GetInfo())
	return err == nil && info.Kind == snapshots.KindCommitted
}

// Remove forgets a snapshot.
func (s *Snapshotter) Remove(ctx context.Context, key string) error {
	defer s.known.change(key)()
	err := s.link.call(ctx, func(ctx context.Context, c snapshotsapi.TTRPCSnapshotsClient, again bool) error {
		_, err := c.Remove(ctx, &snapshotsapi.RemoveSnapshotRequest{Key: key})
		if again && errdefs.IsNotFound(remote(err)) {
			return nil
		}
		return err
	})
	if err != nil {
		return about("remove snapshot", key, err)
	}
	return nil
}

// Walk calls fn for each snapshot that matches one of the filters, or for each
// if there are none. The list is complete before fn is first called, so fn may
// use the snapshotter.
func (s *Snapshotter) Walk(ctx context.Context, fn snapshots.WalkFunc, filters ...string) error {
	var all []snapshots.Info
	err := s.link.call(ctx, func(ctx context.Context, c snapshotsapi.TTRPCSnapshotsClient, _ bool) (err error) {
		all, err = list(ctx, c, filters)
		return err
	})
	if err != nil {
		return about("list snapshots", "", err)
	}
	for _, info := range all {
		if err := fn(ctx, info); err != nil {
			return err
		}
	}
	return nil
}

// maxList bounds the memory a list of snapshots may take, in bytes on the wire.
// 100,000 snapshots of containerd's take about half of it.
const maxList = 64 << 20

func list(ctx context.Context, c snapshotsapi.TTRPCSnapshotsClient, filters []string) ([]snapshots.Info, error) {
	stream, err := c.List(ctx, &snapshotsapi.ListSnapshotsRequest{Filters: filters})
	if err != nil {
		return nil, err
	}
	var (
		all  []snapshots.Info
		size int
	)
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if len(r.GetInfo()) == 0 {
			return all, nil // ttrpc's end of a stream is an empty message
		}
		if size += proto.Size(r); size > maxList {
			return nil, invalid("list of snapshots of more than %d bytes", maxList)
		}
		for _, p := range r.GetInfo() {
			info, err := validInfo(p)
			if err != nil {
				return nil, err
			}
			all = append(all, info)
		}
	}
}

// Cleanup frees the disk space of removed snapshots.
func (s *Snapshotter) Cleanup(ctx context.Context) error {
	err := s.link.call(ctx, func(ctx context.Context, c snapshotsapi.TTRPCSnapshotsClient, _ bool) error {
		_, err := c.Cleanup(ctx, &snapshotsapi.CleanupRequest{})
		return err
	})
	if err != nil {
		return about("clean up snapshots", "", err)
	}
	return nil
}

// Close ends the use of the snapshotter and breaks the calls under way. It may
// be called more than once.
func (s *Snapshotter) Close() error { return s.link.close() }

// about says what was being done to which snapshot, unless the HOST has said so.
func about(what, key string, err error) error {
	switch {
	case wire.FromHost(err):
		return err
	case key == "":
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s %q: %w", what, key, err)
}

func gather(opts []snapshots.Opt) (info snapshots.Info, err error) {
	for _, o := range opts {
		if err := o(&info); err != nil {
			return snapshots.Info{}, fmt.Errorf("snapshot options: %w", err)
		}
	}
	return info, nil
}
