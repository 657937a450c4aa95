// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dns makes dockerd's DNS server, which answers on 127.0.0.11 inside a
// namespace of the DPU, answer inside the twin on the HOST.
//
// A [Relay] in the twin takes queries for 127.0.0.11:53 and sends each over a
// stream of its own to [Answer] on the DPU, which asks the server from inside
// the namespace and nobody else. It never looks into a query.
package dns
