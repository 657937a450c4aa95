// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package builtin

import "github.com/containerd/containerd/v2/core/snapshots"

// Capabilities are the snapshotter's, as containerd has to be told them: in a
// proxy plugin's "capabilities" setting if it is not built in.
func Capabilities() []string {
	// A parent may be given at commit, so layers can be unpacked in parallel.
	return []string{snapshots.RebaseCap}
}
