// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rtnl reads, changes and watches a network namespace: the shell around
// package twin. It speaks rtnetlink (see rtnetlink(7)) and reads and writes
// /proc/sys/net.
//
// It changes only what it is told to and never looks for what it could tidy up.
package rtnl
