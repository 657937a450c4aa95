// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"log/slog"
	"os"
	"testing"
)

// TestLacksTime asks runtimes for time namespaces, on a kernel that has them.
func TestLacksTime(t *testing.T) {
	if _, err := os.Stat("/proc/self/ns/time"); err != nil {
		t.Skip("no time namespaces in this kernel (CONFIG_TIME_NS)")
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for runc, want := range map[string]bool{
		dir + "/testdata/runc-1.1": true,
		dir + "/testdata/runc-1.2": false,
		"/bin/true":                false, // says nothing
		"/nowhere/runc":            false,
	} {
		if got := lacksTime(runc, slog.New(slog.DiscardHandler)); got != want {
			t.Errorf("%s: %v, want %v", runc, got, want)
		}
	}
}

// TestKnowsNoTime reads what runtimes may print.
func TestKnowsNoTime(t *testing.T) {
	for text, want := range map[string]bool{
		`{"linux": {"namespaces": ["ipc"]}}`:         true,
		`{"linux": {"namespaces": ["ipc", "time"]}}`: false,
		`{"linux": {}}`:   false,
		`{}`:              false,
		`no such command`: false,
		``:                false,
	} {
		if got := knowsNoTime([]byte(text)); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
