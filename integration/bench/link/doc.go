// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Command link measures what a stream of a session costs against the bare
// connection below it, TCP or TLS 1.3 on the loopback device: the round trip of a
// byte, the throughput, and the memory of what is open and idle.
//
// May import integration/bench and udsbridge. Never needs a lab.
package main
