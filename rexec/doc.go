// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rexec is the room for running a program of one machine from the other
// as if it were local.
//
//   - wire: the messages between both ends, as docs/wire-rexec.md draws them.
//   - policy: the allow-list, and whether it permits a run.
//   - server: starts the programs and owns their processes, pipes and terminals.
//   - client: stands for a program on the machine that asked for it.
//
// It may import udsbridge, and it never imports shim, plugins or remotefs.
package rexec
