// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"slices"
	"testing"

	"github.com/container-offload/offload/integration/lab"
)

// TestSince holds what counts as left behind.
func TestSince(t *testing.T) {
	before := &survey{
		things:  lab.Observation{"host: mount a": true, "host: mount b": true},
		amounts: map[string]int{"offload-dpu (pid 7) fds": 10, "offload-host (pid 8) fds": 10, "offload-host (pid 8) goroutines": 40},
	}
	now := &survey{
		things: lab.Observation{"host: mount a": true, "host: mount c": true},
		amounts: map[string]int{
			"offload-dpu (pid 9) fds": 100, "offload-host (pid 8) fds": 10 + slack["fds"] + 1, "offload-host (pid 8) goroutines": 41,
		},
	}
	want := []string{"host: mount c", "offload-host (pid 8) fds: 19, before 10"}
	if got := now.since(before); !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
}
