// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package wire is the form of what the ends of rexec tell each other. A run has
// one control stream, on which each message is a frame of this package, and one
// stream for each pipe or terminal of the program, which carries plain bytes.
//
// Everything that differs between architectures crosses by name: signals,
// limits, terminal modes. The bytes are drawn in docs/wire-rexec.md.
//
// It is pure: values to bytes and back. It imports only the standard library
// and golang.org/x/sys for the numbers of this machine, and it never starts
// or opens anything.
package wire
