// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Command offload-runc answers on the DPU for the HOST's runc, for programs that
// run containers by runc's command line: BuildKit in dockerd above all.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/containerd/log"
)

func main() {
	// Standard error is the container's. What the libraries below log of a
	// connection's end is not for whoever reads that.
	_ = log.SetLevel("panic")
	c := &commands{}
	err := c.root().ExecuteContext(context.Background())
	var status exitStatus
	switch {
	case err == nil:
	case errors.As(err, &status):
		os.Exit(int(status))
	default:
		c.complain(err)
		os.Exit(1)
	}
}

// exitStatus is a container's own.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// complain tells of an error as runc does, which its callers read.
func (c *commands) complain(err error) {
	fmt.Fprintln(os.Stderr, "offload-runc:", err)
	if c.log == "" {
		return
	}
	f, openErr := os.OpenFile(c.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if openErr != nil {
		fmt.Fprintln(os.Stderr, "offload-runc:", openErr)
		return
	}
	defer f.Close()
	if c.logFormat == "json" {
		// Writing to the log is all that can be done about an error.
		_ = json.NewEncoder(f).Encode(map[string]string{
			"level": "error", "msg": err.Error(), "time": time.Now().Format(time.RFC3339),
		})
		return
	}
	fmt.Fprintf(f, "time=%q level=error msg=%q\n", time.Now().Format(time.RFC3339), err)
}

// show writes v as JSON to standard output.
func show(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
