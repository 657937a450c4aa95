// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package run is the suite that a user's day is made of: docker and ctr, as they are, on the DPU of a lab, and what
// they are expected to do.
//
// Nothing in it knows how containers get to the HOST, save the tests of where things run and of what fails when the
// other side is missing. So the same suite runs against stock daemons, with OFFLOAD_LAB_KIND=stock, and there tells a
// wrong test from a wrong system. One lab serves all tests of a run; each test must leave it as it was, on both sides,
// and fails if it does not.
//
// May import integration/lab. Has no code that is not a test.
package run
