// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package wire holds what the snapshot store on the HOST and the plugins on the
// DPU must agree on: service names, snapshot ids, stream headers and frames.
//
// Three services cross the link. "snapshots" is containerd's own snapshot
// service over ttrpc. "apply" carries one layer to the HOST per stream, "diff"
// carries one layer back per stream. docs/wire-store.md is their specification.
//
// The package is pure: values in, values out, over an io.Reader or io.Writer.
// It imports neither side, keeps no state and starts no goroutine. Every
// decoder is bounded and safe on hostile input.
package wire
