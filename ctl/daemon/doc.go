// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package daemon holds the command lines of the two daemons, offload-dpu and
// offload-host, apart from what they do: the programs run them, and offloadctl
// writes their manual pages from them.
//
// It may import config and version.
package daemon
