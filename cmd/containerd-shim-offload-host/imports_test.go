// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestWithoutGRPC holds that neither shim, as the Makefile builds them, carries gRPC: each running half would pay for it
// in memory.
func TestWithoutGRPC(t *testing.T) {
	for _, shim := range []string{"containerd-shim-offload-host", "containerd-shim-offload-v1"} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-tags", "no_grpc", "-deps", "../"+shim).Output()
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(strings.Fields(string(out)), "google.golang.org/grpc") {
			t.Errorf("%s imports gRPC", shim)
		}
	}
}
