// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Command rexec measures what it takes to run a program on another machine, by rexec
// and by ssh, with a connection of its own each time and with one that is kept
// (ControlMaster, or the daemon's session), and how fast bytes pass through such a
// program. Both ends are on one machine.
//
// May import integration/bench, rexec and udsbridge. Never needs a lab.
package main
