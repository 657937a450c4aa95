// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package wire holds what the two ends of a container's network say to each
// other: the header of each stream, and the messages of the control stream.
// docs/wire-network.md draws the bytes.
//
// It holds values, their checks and their encoding only.
package wire
