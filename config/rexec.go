// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// RexecName is the name of the program that runs programs for the peer.
const RexecName = "rexec"

// Rexec says how programs are run across the link.
type Rexec struct {
	// Socket is the path of the socket on which the daemon awaits rexec on this
	// machine, to carry it to the peer.
	Socket string `toml:"socket"`
	// Allow is the path of the allow-list that says what the peer may run here.
	// Empty, it may run nothing.
	Allow string `toml:"allow"`
}

func defaultRexec() Rexec { return Rexec{Socket: "/run/offload/rexec.sock"} }

func (r Rexec) check(d *document) {
	d.socket("rexec.socket", r.Socket)
	if r.Allow != "" {
		d.absolute("rexec.allow", r.Allow)
	}
}

// Locate returns the path of the program [RexecName]: beside this process's own
// program, else in PATH.
func (Rexec) Locate() (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), RexecName)
		if _, err := exec.LookPath(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath(RexecName)
	if err != nil {
		return "", fmt.Errorf("find %s, which is not beside this program: %w", RexecName, err)
	}
	return path, nil
}
