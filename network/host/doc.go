// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package host is the HOST's end of containers' networks: it makes and changes
// the twins that the DPU describes, in namespaces that it is given.
//
// A twin lives as long as its control stream. It never decides what a network
// looks like, and reports what a container changes only if it is asked to.
package host
