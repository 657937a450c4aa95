// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policy is the allow-list of rexec: what the peer may have run on this
// machine. What no rule allows is refused.
//
// Deciding is a function from values to a value and needs no file system. Only
// Load opens a file, and it refuses one that others than root may read or change.
//
// It imports no other package of this module and never starts anything.
package policy
