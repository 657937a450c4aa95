// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package server runs programs for the peer, as far as the allow-list permits.
//
// A Server is given connections; on each it is the accepting end of a session,
// see udsbridge/session. It owns the programs it has started: their processes,
// pipes and terminals. When a client is gone its program gets SIGHUP, and
// SIGKILL after a grace time, with every process of its session.
//
// A program's file is opened once. What is looked at (type, mode, digest) is
// that descriptor, and so is what is executed.
//
// A program with a terminal is the child of a process of its own, the leader of
// the terminal's session: without a parent there it could not be stopped and
// continued. That process is this executable, so every main that uses this
// package calls RunLeader first.
//
// It imports rexec/wire, rexec/policy and udsbridge, and it never reads a
// configuration file by itself.
package server
