// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package steer joins an interface of a namespace on the DPU with a carrier's
// device in the same namespace, by two BPF programs on their tc ingress hooks.
//
// Inward, on the interface: what comes in goes to the container, except for
// what a socket on the DPU has asked for. dockerd's DNS server asks other
// servers from inside the namespace, with the address it shares with the
// container, and the answers are its own.
//
// Outward, on the carrier's device: what comes from the container leaves
// through the interface if it says truthfully who sent it. The HOST is not
// trusted, so a frame with another MAC than the interface has, or another IP address
// than the namespace has, is dropped here, and so is what speaks for a router or a
// bridge.
//
// The programs are functions of what they must know, and are replaced as a
// whole when that changes.
package steer
