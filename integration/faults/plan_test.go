// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"regexp"
	"slices"
	"testing"
)

func names(all []injection) []string {
	var out []string
	for _, i := range all {
		out = append(out, i.fault.name)
	}
	return out
}

// TestPlan holds that a seed says everything about the order, and that a part of a plan can be asked for.
func TestPlan(t *testing.T) {
	whole := plan(catalogue, nil, false, 2, 7)
	if len(whole) != 2*len(catalogue) {
		t.Errorf("%d injections of %d faults", len(whole), len(catalogue))
	}
	if again := plan(catalogue, nil, false, 2, 7); !slices.Equal(whole, again) {
		t.Error("the same seed makes another plan")
	}
	if other := plan(catalogue, nil, false, 2, 8); slices.Equal(names(whole), names(other)) {
		t.Error("another seed makes the same plan")
	}
	seen, last := map[surroundings]bool{}, surroundings(-1)
	for _, i := range whole {
		if i.fault.in != last && seen[i.fault.in] {
			t.Fatal("a lab would be opened twice")
		}
		last = i.fault.in
		seen[last] = true
	}
	one := plan(catalogue, regexp.MustCompile("^kill offload-dpu$"), false, 3, 7)
	if len(one) != 3 || one[0].fault.name != "kill offload-dpu" || one[2].round != 3 {
		t.Errorf("asked for one fault thrice: %v", names(one))
	}
	short := plan(catalogue, nil, true, 1, 7)
	if len(short) == 0 || len(short) >= len(catalogue) {
		t.Errorf("a short pass of %d faults", len(short))
	}
}

// TestCatalogue holds that each fault says what it is and what has to come of it.
func TestCatalogue(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range catalogue {
		if f.name == "" || f.group == "" || f.expect == "" || f.inject == nil || seen[f.name] {
			t.Errorf("fault %q: it lacks something, or there are two", f.name)
		}
		seen[f.name] = true
	}
}

// TestDice holds that chance repeats itself for the same injection only.
func TestDice(t *testing.T) {
	a := dice(7, "kill offload-dpu", 1).Uint64()
	if a != dice(7, "kill offload-dpu", 1).Uint64() {
		t.Error("the same injection draws something else")
	}
	for _, other := range []uint64{
		dice(8, "kill offload-dpu", 1).Uint64(), dice(7, "kill containerd", 1).Uint64(), dice(7, "kill offload-dpu", 2).Uint64(),
	} {
		if a == other {
			t.Error("another injection draws the same")
		}
	}
}
