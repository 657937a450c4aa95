// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bench is the one format in which benchmarks of this repository report: rows that each compare a figure of
// ours with a peer's, measured in the same run on the same machine.
//
// May import the standard library. Never measures anything itself: that is done by the packages below it.
package bench
