// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Command offload-runc answers on the DPU for the HOST's runc, for programs that
// run containers by runc's command line: BuildKit in dockerd above all.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "offload-runc: not implemented yet:", os.Args[1:])
	os.Exit(1)
}
