// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package remotefs shows directories and files of one machine on another, by
// FUSE over one connection. It holds the documentation only; the code is in
//
//   - wire: what crosses the connection, as values and bytes, with no I/O;
//   - framing: sends and receives that on a net.Conn;
//   - server: serves exports to whoever holds a connection;
//   - client: mounts what a server exports.
//
// It may import the standard library, golang.org/x/{sys,sync}, errdefs and, in client
// only, go-fuse. It knows nothing of links and sessions: it gets a net.Conn.
// It never trusts the other side: neither server nor client can be made to
// reach outside of an export, to hang or to grow by what the other sends.
package remotefs
