// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// askRuntime returns what runc prints when it is given arg.
func askRuntime(ctx context.Context, runc, arg string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, runc, arg)
	cmd.Dir, cmd.Stderr = "/", &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run %s %s: %w: %s", runc, arg, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// lacksTime reports whether this machine gives no container a time namespace: its
// kernel has none, or its runtime is one, such as runc before 1.2, that knows none.
// A runtime that does not tell its features is left to refuse what it can't do.
func lacksTime(runc string, log *slog.Logger) bool {
	if _, err := os.Stat("/proc/self/ns/time"); errors.Is(err, fs.ErrNotExist) {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), featuresTimeout)
	defer cancel()
	text, err := askRuntime(ctx, runc, "features")
	if err != nil {
		log.Debug("the runtime does not tell its features", "error", err)
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
