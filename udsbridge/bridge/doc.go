// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bridge lets programs connect to unix sockets of the other machine as if
// they were here.
//
// The connecting side has rules that say which paths live on the peer, the serving
// side has rules that say which paths the peer may reach; both are empty until they
// are configured. A connection travels in a stream of the session. What the serving
// side tells of its sockets (Watch), the connecting side mirrors: it listens at the
// same path with the same owner and mode, and stops when the peer's socket goes.
//
//   - wire: what the two sides say to each other.
//   - policy: what is allowed, and what a passed descriptor becomes.
//   - hook: leads connect(2) elsewhere by BPF.
//
// A joint joins one descriptor of this machine with one stream. An idle joint has no
// goroutine and no buffer: one poller watches all descriptors, and the session
// calls when a stream has something to read.
//
// It may import udsbridge/session and its own sub-packages. It never decides what is
// allowed, and never looks into what a connection carries.
package bridge
