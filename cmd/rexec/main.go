// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Command rexec runs a program on the peer as if it were here, and serves such
// runs.
package main

import "github.com/container-offload/offload/rexec/cli"

func main() { cli.Main() }
