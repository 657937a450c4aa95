// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package proxy offers a snapshotter and a differ to a stock containerd, as the
// gRPC services its proxy plugins of the types "snapshot" and "diff" expect.
//
// It may import containerd and nothing of ours. It holds no state.
package proxy
