// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package launcher is the HOST agent's side of shims. It keeps HOST halves
// ready, passes each incoming connection to the half it is for, and removes
// what a dead half has left.
//
// It hands over raw connections: it reads nothing of what they carry.
package launcher
