// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cli is the command line of rexec. Its command tree is also what the
// manual and the completion of shells are made from.
//
// What it does with every start is kept small: rexec is run as often as the
// programs it stands for. So it imports no TLS, and reads no configuration file.
package cli
