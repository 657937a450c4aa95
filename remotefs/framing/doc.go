// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package framing sends and receives the frames of remotefs/wire on a net.Conn.
//
// Frames without much data go before those with it, so that a look-up does not
// wait for the megabytes queued before it; frames that are written at the same
// time share a system call. It knows nothing of what the frames mean.
package framing
