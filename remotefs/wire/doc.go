// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package wire is what crosses a remotefs connection: frames, requests and
// replies as values, and their bytes. docs/wire-remotefs.md draws them.
//
// Everything that differs between architectures or kernels (open flags, error
// numbers, device numbers, lock types) has a number of its own here. The
// package does no I/O, keeps no state, and takes any bytes: what it cannot
// decode is an error, never a panic, and nothing is allocated that the bytes
// at hand do not fill.
//
// It imports the standard library and golang.org/x/sys only.
package wire
