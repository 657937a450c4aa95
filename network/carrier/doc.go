// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package carrier says what carries the frames of one interface between the DPU
// and the HOST.
//
// A carrier makes a port at both ends: on the DPU a device in the namespace of
// the interface, which package steer joins with that interface; on the HOST the
// interface of the twin itself. The DPU offers, the HOST accepts.
//
// Kinds are packages of their own: tunnel and vxlan. A third would take a
// virtual function of a network card on the HOST, moved into the container's
// namespace, and its representor on the DPU as the device.
package carrier
