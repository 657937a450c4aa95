// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dpu is the DPU's end of a container's network: it describes a
// namespace of the DPU to the HOST, joins its interfaces with carriers, follows
// its changes, and answers the container's DNS queries.
//
// It never trusts the HOST: what a frame may say about its sender is checked by
// package steer, and a change that the container makes is taken over only if
// the container may make it.
package dpu
