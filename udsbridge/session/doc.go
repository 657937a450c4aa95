// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package session carries many streams over one connection at a time, and keeps
// them alive when that connection is lost.
//
// A session has two ends. The dialling end makes connections, by a function it
// is given, and makes another when one is lost; the accepting end is handed
// connections by an Acceptor, which finds out from the first bytes whether one
// begins a session or resumes one. Beyond that both ends are alike: both open
// streams and both listen for the streams the other opens.
//
// A Stream is a net.Conn. Opening one costs no round trip. Every stream has its
// own window, so that a reader who is slow holds up nobody but his writer. What
// was written and not yet acknowledged is kept and sent again on the next
// connection, exactly once and in order as far as a reader can see. If no
// connection comes about within the resume timeout, every stream fails with an
// error that wraps ErrLinkLost.
//
// The protocol (docs/wire-session.md) is in core.go and what it uses: a value
// that is fed frames and asked for bytes, without sockets, clocks or goroutines.
// Session and Stream are the shell around it.
//
// It imports no other package of this module and never looks into a stream.
package session
