// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package network is the room of what gives a container on the HOST the network
// that dockerd or a CNI plugin has made for it on the DPU.
//
// On the DPU a network namespace holds the interfaces that were configured; the
// container's namespace on the HOST gets a twin of it, and frames move between
// both. See docs/network.md for the picture and docs/wire-network.md for the
// bytes.
//
//   - twin: what a namespace looks like, and the steps from one look to another.
//   - netns: doing something inside a namespace.
//   - rtnl: reads, changes and watches a namespace by rtnetlink and /proc/sys.
//   - steer: the BPF programs on the DPU that part the frames of the container
//     from those of the DPU, and drop what the container may not send.
//   - carrier: how frames cross, with its kinds tunnel and vxlan.
//   - dns: 127.0.0.11 inside the container.
//   - wire: what the two ends say to each other.
//   - dpu, host: the two ends.
//
// It imports nothing of this module but its own packages: the streams it uses
// are given to it. It never makes a namespace and never decides what a network
// looks like.
package network
