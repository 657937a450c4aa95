// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package wire holds what the two halves of a shim say to each other on top of
// containerd's task v3 API: the names of the session's services, the header of
// a stdio stream, and what a task's creation carries beside the request.
//
// It holds values and their checks only. It never opens anything.
package wire
