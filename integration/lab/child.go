// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
)

// The names under which the program is started again. They are its argv[0] there.
const (
	initName    = "offload-lab-init"
	janitorName = "offload-lab-janitor"
)

// RunChild turns this process into a lab's pid 1 or janitor if it was started as one, and then does not return.
// Otherwise it returns at once. Call it before anything else in main or TestMain.
func RunChild() {
	var err error
	switch os.Args[0] {
	case initName:
		err = runInit()
	case janitorName:
		err = runJanitor()
	default:
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
		os.Exit(1)
	}
	os.Exit(0)
}
