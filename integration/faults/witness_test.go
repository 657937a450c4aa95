// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import "testing"

// TestComplete holds which outputs a witness is believed.
func TestComplete(t *testing.T) {
	for _, c := range []struct {
		text string
		good bool
		lost int
	}{
		{"", true, 0},
		{"1\n2\n3", true, 0},
		{"1\n3\n4", false, 1},
		{"2\n3", false, 1},
		{"1\n2\n2\n3", false, -1},
		{"1\n23\n4", false, 1},
		{"1\n2 \x00\n3", false, -1},
	} {
		if err := complete(c.text); (err == nil) != c.good {
			t.Errorf("%q: %v", c.text, err)
		}
		if lost := missing(c.text); lost != c.lost {
			t.Errorf("%q: %d lost, not %d", c.text, lost, c.lost)
		}
	}
}
