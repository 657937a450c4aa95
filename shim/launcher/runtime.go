// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// featuresTimeout bounds how long the runtime may take to tell its features.
const featuresTimeout = 10 * time.Second

// lacksTime reports whether this machine gives no container a time namespace: its
// kernel has none, or its runtime is one, such as runc before 1.2, that knows none.
// A runtime that does not tell its features is left to refuse what it can't do.
func lacksTime(runc string, log *slog.Logger) bool {
	if _, err := os.Stat("/proc/self/ns/time"); errors.Is(err, fs.ErrNotExist) {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), featuresTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, runc, "features")
	cmd.Dir = "/"
	text, err := cmd.Output()
	if err != nil {
		log.Debug("the runtime does not tell its features", "runtime", runc, "error", err)
		return false
	}
	return knowsNoTime(text)
}

// knowsNoTime looks for time namespaces in what a runtime prints of its features.
func knowsNoTime(text []byte) bool {
	var f features.Features
	if json.Unmarshal(text, &f) != nil || f.Linux == nil || len(f.Linux.Namespaces) == 0 {
		return false
	}
	return !slices.Contains(f.Linux.Namespaces, string(specs.TimeNamespace))
}
