// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"context"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"
)

// TestSnapshotterSuite is containerd's own suite for snapshotters, run through
// the gRPC proxy and the link.
func TestSnapshotterSuite(t *testing.T) {
	requireRoot(t)
	testsuite.SnapshotterSuite(t, "offload", func(_ context.Context, root string) (snapshots.Snapshotter, func() error, error) {
		r, err := makeRig(root)
		if err != nil {
			return nil, r.close, err
		}
		return r.sn, r.close, nil
	})
}
