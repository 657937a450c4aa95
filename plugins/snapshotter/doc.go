// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package snapshotter is the DPU's side of the snapshot store: a containerd
// snapshotter whose snapshots are on the HOST.
//
// Every call is a call of the store's snapshot service over the link. Its
// mounts are plain binds of snapshots/<id> below the one place where the DPU has
// the HOST's tree mounted, so whoever mounts them needs no helper.
//
// The HOST is not trusted. An answer that is not of the expected shape is an
// error; nothing of it is passed on. What the HOST can do is give wrong contents
// or none, which is the HOST's own business: the containers run there.
//
// It may import plugins/wire and containerd. It never mounts anything and never
// touches a file.
package snapshotter
