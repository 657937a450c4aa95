// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package blobs reads the content of the containerd on the DPU from where it lies on the disk, instead of by way of
// containerd: a layer then crosses no further process on its way to the HOST. Whether a blob is there, and may be seen,
// is for containerd to say, and whether it is the right one is found out by its digest on the HOST.
//
// May import containerd. Never writes anything.
package blobs
