// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"testing"
	"time"
)

// TestJudge holds what becomes of a frame on a cable with flaws.
func TestJudge(t *testing.T) {
	now := time.Unix(1000, 0)
	after := func(d time.Duration) time.Time { return now.Add(d) }
	for _, c := range []struct {
		name                string
		flaws               Flaws
		free                time.Time
		size                int
		lossDie, corruptDie float64
		bit                 int
		want                verdict
	}{
		{"good", Flaws{}, time.Time{}, 100, 0, 0, 5, verdict{flip: -1, at: now}},
		{"cut", Flaws{Cut: true}, time.Time{}, 100, 0.9, 0.9, 5, verdict{lost: true, flip: -1, at: now}},
		{"unlucky", Flaws{Loss: 0.2}, time.Time{}, 100, 0.1999, 0.9, 5, verdict{lost: true, flip: -1, at: now}},
		{"lucky", Flaws{Loss: 0.2}, time.Time{}, 100, 0.2, 0.9, 5, verdict{flip: -1, at: now}},
		{"damaged", Flaws{Corrupt: 0.01}, time.Time{}, 2, 0, 0.009, 21, verdict{flip: 5, at: now}},
		{"nothing to damage", Flaws{Corrupt: 1}, time.Time{}, 0, 0, 0, 21, verdict{flip: -1, at: now}},
		{"far", Flaws{Delay: time.Second}, time.Time{}, 100, 0, 0, 5, verdict{flip: -1, at: after(time.Second)}},
		{
			"slow", Flaws{Rate: 8000}, time.Time{}, 100, 0, 0, 5,
			verdict{flip: -1, at: after(100 * time.Millisecond), free: after(100 * time.Millisecond)},
		},
		{
			"slow and busy", Flaws{Rate: 8000, Delay: time.Second}, after(300 * time.Millisecond), 100, 0, 0, 5,
			verdict{flip: -1, at: after(1400 * time.Millisecond), free: after(400 * time.Millisecond)},
		},
		{
			"slow and full", Flaws{Rate: 8000}, after(501 * time.Millisecond), 100, 0, 0, 5,
			verdict{lost: true, flip: -1, at: now, free: after(501 * time.Millisecond)},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.flaws.judge(now, c.free, c.size, c.lossDie, c.corruptDie, c.bit); got != c.want {
				t.Errorf("%+v, not %+v", got, c.want)
			}
		})
	}
}
