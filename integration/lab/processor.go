// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ProcessorTime is what everything in the environment has used, containers included and whatever has ended since.
func (e *Env) ProcessorTime() (time.Duration, error) {
	for _, h := range e.hierarchies {
		if h.Type != "cgroup2" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(h.Mount, e.group, "cpu.stat"))
		if err != nil {
			return 0, fmt.Errorf("measure processor time of %s: %w", e.name, err)
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, "usage_usec "); ok {
				n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
				if err != nil {
					return 0, fmt.Errorf("measure processor time of %s: %w", e.name, err)
				}
				return time.Duration(n) * time.Microsecond, nil
			}
		}
	}
	return 0, fmt.Errorf("measure processor time of %s: no cgroup of version 2 tells it", e.name)
}
