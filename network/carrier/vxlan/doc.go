// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package vxlan carries frames in the kernel: a VXLAN (RFC 7348) with two ends
// for each interface, over a link that has IP.
//
// The devices are made with the machines' own networks beneath them and are
// born in the namespaces they are for. Nothing is learned and nothing flooded:
// all goes to the one other end.
//
// Nothing is encrypted, and whoever can send to the DPU from the HOST's address
// can speak for a container, within what package steer lets pass. So it is used
// only where both configurations say so.
package vxlan
