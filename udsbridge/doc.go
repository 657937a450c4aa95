// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package udsbridge is the room of what joins the DPU and the HOST.
//
//   - link: addresses, connections, TLS, and the preamble by which a connection
//     says whom it is for.
//   - session: many streams over one link connection, which survive the loss of
//     that connection.
//   - pki: the certificate authority and the certificates of both ends.
//   - fdpass: messages with file descriptors between processes of one machine.
//   - pidfd: whether a process of this machine has ended.
//
// It imports nothing of this module but its own packages, and never knows what
// travels in a stream.
package udsbridge
