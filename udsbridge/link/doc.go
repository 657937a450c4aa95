// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package link makes the connections between the DPU and the HOST: by vsock, by
// TCP with mutual TLS 1.3, or by a unix socket.
//
// A connection begins with a preamble in the clear, which says for whom on the
// HOST it is (Target). The process that listens reads just that and may pass the
// connection on (Incoming.File, Handover) before TLS begins, so that TLS ends in
// the process that serves the target. The target is repeated inside TLS, where
// nobody in between can change it.
//
// The sequence on the accepting side:
//
//	l, err := link.Listen(ctx, address, security)
//	in, err := l.Accept()            // the preamble has been read
//	conn, err := in.Handshake(ctx)   // here, or:
//	f, err := in.File()              // passed to another process, which calls
//	in, err := link.Handover(f, target, security) // or Handovers.Take
//
// The accepting side's verdict reaches the dialling side with the first bytes it
// is sent, so it costs no round trip: Dial returns before it, and the first Read
// fails with a *RefusedError if the HOST refused.
//
// The bytes are drawn in docs/wire-session.md. It imports no other package of
// this module and never reads past what belongs to it.
package link
