// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// ShimName is the name of the program of the shim's HOST half.
const ShimName = "containerd-shim-offload-host"

// Locate returns the path of the shim's program: shim.binary if it is set, else
// [ShimName] beside this process's own program, else in PATH.
func (s Shim) Locate() (string, error) {
	if s.Binary != "" {
		if _, err := exec.LookPath(s.Binary); err != nil {
			return "", fmt.Errorf("find the shim that shim.binary names: %w", err)
		}
		return s.Binary, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), ShimName)
		if _, err := exec.LookPath(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath(ShimName)
	if err != nil {
		return "", fmt.Errorf("find the shim, which is neither beside this program nor where shim.binary could say: %w", err)
	}
	return path, nil
}
