// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package processes finds the halves of shims among a machine's processes and
// says since when they run. It reads /proc and nothing else, so it needs no help
// from the shims and finds those too that nobody remembers.
//
// It imports nothing of this module and signals nobody.
package processes
