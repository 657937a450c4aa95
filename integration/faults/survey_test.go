// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"slices"
	"testing"
)

// TestMore holds that a daemon is compared with itself only, and that it may have a little more.
func TestMore(t *testing.T) {
	before := map[string]int{
		"offload-dpu (pid 7) fds": 10, "offload-host (pid 8) fds": 10, "offload-host (pid 8) goroutines": 40,
	}
	now := &survey{amounts: map[string]int{
		"offload-dpu (pid 9) fds": 100, "offload-host (pid 8) fds": 10 + slack["fds"] + 1, "offload-host (pid 8) goroutines": 41,
	}}
	want := []string{"offload-host (pid 8) fds: 19, before 10"}
	if got := now.more(before); !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
}
