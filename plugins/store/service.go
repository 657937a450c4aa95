// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// maxListed bounds the bytes of one message of a list, well below what ttrpc
// carries.
const maxListed = 1 << 20

// service is the store as containerd's snapshot service over ttrpc. The
// snapshotter's name in the requests is the DPU's own matter and is not looked
// at.
type service struct{ s *Store }

var _ snapshotsapi.TTRPCSnapshotsService = service{}

// check refuses a namespace that is not one. The store keeps none apart: keys
// from containerd have their namespace in them.
func check(ctx context.Context) error {
	if ns, ok := namespaces.Namespace(ctx); ok {
		if err := identifiers.Validate(ns); err != nil {
			return fmt.Errorf("namespace: %w", err)
		}
	}
	return nil
}

func labelled(l map[string]string) []snapshots.Opt {
	if l == nil {
		return nil
	}
	return []snapshots.Opt{snapshots.WithLabels(l)}
}

func (v service) Prepare(ctx context.Context, r *snapshotsapi.PrepareSnapshotRequest) (*snapshotsapi.PrepareSnapshotResponse, error) {
	if err := check(ctx); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	m, err := v.s.Prepare(ctx, r.GetKey(), r.GetParent(), labelled(r.GetLabels())...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &snapshotsapi.PrepareSnapshotResponse{Mounts: mount.ToProto(m)}, nil
}

func (v service) View(ctx context.Context, r *snapshotsapi.ViewSnapshotRequest) (*snapshotsapi.ViewSnapshotResponse, error) {
	if err := check(ctx); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	m, err := v.s.View(ctx, r.GetKey(), r.GetParent(), labelled(r.GetLabels())...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &snapshotsapi.ViewSnapshotResponse{Mounts: mount.ToProto(m)}, nil
}

func (v service) Mounts(ctx context.Context, r *snapshotsapi.MountsRequest) (*snapshotsapi.MountsResponse, error) {
	m, err := v.s.Mounts(ctx, r.GetKey())
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &snapshotsapi.MountsResponse{Mounts: mount.ToProto(m)}, nil
}

func (v service) Commit(ctx context.Context, r *snapshotsapi.CommitSnapshotRequest) (*emptypb.Empty, error) {
	if err := check(ctx); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	opts := labelled(r.GetLabels())
	if r.GetParent() != "" {
		opts = append(opts, snapshots.WithParent(r.GetParent()))
	}
	if err := v.s.Commit(ctx, r.GetName(), r.GetKey(), opts...); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

func (v service) Remove(ctx context.Context, r *snapshotsapi.RemoveSnapshotRequest) (*emptypb.Empty, error) {
	if err := v.s.Remove(ctx, r.GetKey()); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

func (v service) Stat(ctx context.Context, r *snapshotsapi.StatSnapshotRequest) (*snapshotsapi.StatSnapshotResponse, error) {
	info, err := v.s.Stat(ctx, r.GetKey())
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &snapshotsapi.StatSnapshotResponse{Info: proxy.InfoToProto(info)}, nil
}

func (v service) Update(ctx context.Context, r *snapshotsapi.UpdateSnapshotRequest) (*snapshotsapi.UpdateSnapshotResponse, error) {
	if r.GetInfo() == nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("update without a snapshot: %w", errdefs.ErrInvalidArgument))
	}
	info, err := v.s.Update(ctx, proxy.InfoFromProto(r.GetInfo()), r.GetUpdateMask().GetPaths()...)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &snapshotsapi.UpdateSnapshotResponse{Info: proxy.InfoToProto(info)}, nil
}

func (v service) List(ctx context.Context, r *snapshotsapi.ListSnapshotsRequest, ss snapshotsapi.TTRPCSnapshots_ListServer) error {
	var (
		block snapshotsapi.ListSnapshotsResponse
		size  int
	)
	flush := func() error {
		if len(block.Info) == 0 {
			return nil
		}
		if err := ss.Send(&block); err != nil {
			return fmt.Errorf("send list of snapshots: %w", err)
		}
		block.Info, size = nil, 0
		return nil
	}
	err := v.s.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		p := proxy.InfoToProto(info)
		n := proto.Size(p)
		if size+n > maxListed {
			if err := flush(); err != nil {
				return err
			}
		}
		block.Info, size = append(block.Info, p), size+n
		return nil
	}, r.GetFilters()...)
	if err == nil {
		err = flush()
	}
	return errgrpc.ToGRPC(err)
}

func (v service) Usage(ctx context.Context, r *snapshotsapi.UsageRequest) (*snapshotsapi.UsageResponse, error) {
	u, err := v.s.Usage(ctx, r.GetKey())
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return proxy.UsageToProto(u), nil
}

func (v service) Cleanup(ctx context.Context, _ *snapshotsapi.CleanupRequest) (*emptypb.Empty, error) {
	if err := v.s.Cleanup(ctx); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}
