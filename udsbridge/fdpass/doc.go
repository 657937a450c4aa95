// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fdpass sends messages with file descriptors over unix sockets, so that
// one process can hand an open connection to another.
//
// Use it on SOCK_SEQPACKET sockets ("unixpacket"), where a message arrives whole
// or not at all. It also works on stream sockets, on which the caller must make
// sure by other means where a message ends.
//
// It imports no other package of this module and never looks into a message.
package fdpass
