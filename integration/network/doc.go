// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package network is the suite of what docker's networks do for containers: docker as it is, on the DPU of a lab, with
// the networks that it makes there, and containers that run on the HOST.
//
// Nothing in it knows how frames get to the HOST, save the tests of what a hostile HOST can't do and of what happens
// when the link is cut. So the same suite runs against stock daemons, with OFFLOAD_LAB_KIND=stock, and with the other
// carrier, with OFFLOAD_LAB_CARRIER=vxlan. One lab serves all tests of a run; each must leave it as it was.
//
// May import integration/lab. Has no code that is not a test.
package network
