// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tunnel carries frames in a stream between two TAP devices, in user
// space. It works over every link and is as private as the link is.
//
// Both TAP devices take frames as large as the kernel makes them before it cuts
// them up for a wire, with checksums left out: what crosses is a record of up to
// 64 KiB that says how it is to be cut, in the form of a virtio network header
// (docs/wire-network.md). Cutting and summing happen at the last device on the
// DPU, or not at all between two containers.
//
// Back-pressure is that of the stream: while it takes nothing, frames wait in
// the device's queue, and one that finds it full is dropped, as on any network.
package tunnel
