// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package shadow makes the process that stands for a task on the DPU: its pid
// is what containerd and dockerd are told, and its namespaces are what they
// find below /proc/<pid>/ns.
//
// A shadow is a program of a few instructions with no runtime, so that one per
// task costs a few KiB. It blocks until the process that made it goes away.
// The registry lets every DPU half translate another task's shadow back to
// that task.
//
// The package knows nothing of containerd's API or of the link.
package shadow
