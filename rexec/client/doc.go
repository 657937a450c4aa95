// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package client stands for a program of the other machine: it carries what its
// own descriptors read and write, passes signals on, stops when the program
// stops, and knows how it ended, so that whoever waits for this process sees
// what he would see of the program.
//
// It imports rexec/wire and udsbridge/session, and it never dials by itself.
package client
