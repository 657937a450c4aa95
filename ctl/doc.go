// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ctl is offloadctl: the command line by which a person sets offload up
// and looks inside it.
//
// What lives here: one file for each group of commands, how results are printed
// (a table for people, JSON for programs), and what a command's exit status
// means: 0 for success, 1 for a failure, 2 for a command line that makes no
// sense. Package daemon holds the command lines of the two daemons, so that
// their manual pages come from the same source.
//
// It may import config, configs, status, udsbridge and version. It asks daemons
// by their status sockets and changes nothing in them; it never talks to
// containers itself.
package ctl
