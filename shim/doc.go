// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package shim is the room of the containerd runtime v2 shim
// io.containerd.offload.v1, which is cut in two: the DPU half is what
// containerd starts and talks to, the HOST half runs the containers.
//
//   - wire: what the two halves say to each other beside the task API.
//   - pathrule: finds what a DPU path is on the HOST.
//   - shadow: the process whose pid and namespaces stand for a task on the DPU.
//   - dpu: the DPU half.
//   - host: the HOST half.
//   - launcher: the HOST agent's side: keeps HOST halves warm and hands them
//     their connections.
//
// It imports network, remotefs and udsbridge, never plugins or rexec. The DPU half never
// imports the runc packages: nothing runs locally by mistake.
package shim
