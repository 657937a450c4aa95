// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package plugins is the room for everything that lets a stock containerd on
// the DPU keep its snapshots on the HOST.
//
// What lives below it:
//
//   - wire: the names, headers and frames both machines must agree on
//     (docs/wire-store.md draws each byte);
//   - store: the HOST's side, which owns the overlayfs snapshots, mounts each
//     snapshot's merged view once and unpacks or computes layers;
//   - snapshotter: the DPU's side of the snapshot service, a containerd
//     snapshots.Snapshotter;
//   - differ: the DPU's side of unpacking and diffing, a containerd
//     diff.Applier and diff.Comparer;
//   - blobs: where the DPU's side of unpacking reads layers from;
//   - proxy: both of them as gRPC services for containerd's proxy plugins;
//   - builtin: both of them as plugins linked into a containerd;
//   - plugintest: a link inside one process, for tests only.
//
// It may import containerd, and udsbridge from builtin alone. The DPU's
// packages never import store, store never imports the DPU's packages, and
// nothing here touches containers, sockets of other programs or FUSE.
package plugins
