// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package store is the HOST's snapshot store.
//
// # What it owns
//
// The store owns two directories. In its root, containerd's overlayfs
// snapshotter keeps the layers and their metadata. In the tree, each active
// snapshot and each view that someone has asked for is mounted once, merged, at
// snapshots/<id>, where the id is the number the metadata gives the snapshot.
// Numbers are never used twice, so a path in the tree means the same snapshot
// for ever or nothing.
//
// # How a snapshot is used
//
// The DPU calls Prepare and is told one bind mount of snapshots/<id>. Nothing
// is mounted yet. The first look at that path, through the file server or by a
// container that starts, calls [Store.Resolve], which mounts it; a thousand
// more looks find it mounted. Layers are unpacked before that, by
// [Store.Apply], straight into the snapshot's own directory. Commit and Remove
// unmount the view before they change what is below it.
//
// # Invariants
//
//   - A snapshot's upper directory is in at most one overlay mount.
//   - Only snapshots that are active or views are mounted, and only completely
//     unpacked ones: a snapshot in which unpacking began and did not end well
//     can be removed and nothing else, also after a crash.
//   - All that changes one snapshot holds its lock; snapshots do not wait for
//     each other.
//
// It may import plugins/wire and containerd. It never opens a connection, never
// writes outside its two directories and never trusts a blob.
package store
