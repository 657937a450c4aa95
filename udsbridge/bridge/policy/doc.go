// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policy decides: which sockets a rule covers, as whom a program of the peer
// counts here, and what a descriptor that is passed across becomes.
//
// All of it is functions from values to values; it opens and asks nothing. What is
// not listed is refused.
//
// It may import udsbridge/bridge/wire and nothing else of this module.
package policy
