// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package verdict runs go test and does not let a skipped test pass for one that ran: each skip is told with its
// reason, and one that is not on the list of those that may be is a failure. What failed can be run once more, alone: a
// test that passes then is told as unstable.
//
// May import the standard library.
package verdict
