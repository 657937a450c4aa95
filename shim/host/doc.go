// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package host is the HOST half of the shim: a process that runs the containers
// of one pod with runc, by containerd's own runc task service, for a DPU half
// at the other end of a session.
//
// A half starts idle, before it is needed. The HOST agent gives it a connection
// (package launcher); it makes sure who is at the other end and only then
// becomes a pod's. It owns the pod's directory below the agent's state
// directory and all mounts in it. It never opens a connection.
package host
