// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/diffservice"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/snapshots"
	"google.golang.org/grpc"
)

// Differ is what a diff proxy plugin serves.
type Differ interface {
	diff.Applier
	diff.Comparer
}

// Register adds both services to a server. The context of each call has the
// namespace containerd sent along.
func Register(server grpc.ServiceRegistrar, sn snapshots.Snapshotter, differ Differ) {
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(sn))
	diffapi.RegisterDiffServer(server, diffservice.FromApplierAndComparer(differ, differ))
}
