// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package standin is runc's command line on the DPU, for programs that run
// containers by it and not through containerd: BuildKit in dockerd above all.
// The containers are on the HOST all the same.
//
// "run" is a DPU half of the shim inside the process itself: it lives as long as
// its container, and answers the task API on a socket in its state directory, by
// which the other commands find it. What a killed "run" leaves on the HOST is
// removed by the next one.
//
// It imports shim/dpu and shim/shadow. It never runs anything but hooks and
// shadows on the DPU.
package standin
