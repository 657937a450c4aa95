// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package wire is what the bridges of both machines say to each other: the frames
// of a bridged connection, the headers its streams are opened with, and what a
// passed descriptor is to become.
//
// All of it is functions from bytes to values and back: no sockets, no clocks, no
// goroutines. Every number that differs between architectures crosses as a name or
// as a value defined here. docs/wire-bridge.md draws the bytes.
//
// It imports no other package of this module.
package wire
