// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"fmt"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
)

func info(name, label string) snapshots.Info {
	return snapshots.Info{Name: name, Labels: map[string]string{"l": label}}
}

// expect holds what is known of a snapshot; an empty label is nothing.
func expect(t *testing.T, k *known, key, label string, now time.Time) {
	t.Helper()
	got, _, ok := k.get(key, now)
	if ok != (label != "") || got.Labels["l"] != label {
		t.Errorf("%s: %v %v, want %q", key, ok, got.Labels, label)
	}
}

func TestKnown(t *testing.T) {
	now := time.Unix(1000, 0)
	var k known
	_, before, ok := k.get("a", now)
	if ok {
		t.Fatal("known before it was told")
	}
	k.put(info("a", "1"), before, now)
	k.put(info("b", "2"), before, now)
	expect(t, &k, "a", "1", now)
	got, _, _ := k.get("a", now)
	got.Labels["l"] = "changed by a caller"
	expect(t, &k, "a", "1", now)

	// It grows old.
	expect(t, &k, "a", "1", now.Add(knownFor))
	expect(t, &k, "a", "", now.Add(knownFor+1))

	// A change of one leaves the other.
	_, before, _ = k.get("a", now)
	done := k.change("a")
	expect(t, &k, "a", "", now)
	expect(t, &k, "b", "2", now)
	// What was asked for before the change, during it, and what comes after it in between.
	k.put(info("a", "asked before"), before, now)
	_, during, _ := k.get("a", now)
	k.put(info("a", "told during"), during, now)
	done()
	k.put(info("a", "asked during"), during, now)
	expect(t, &k, "a", "", now)
	_, after, _ := k.get("a", now)
	k.put(info("a", "3"), after, now)
	expect(t, &k, "a", "3", now)
}

func TestKnownIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	var k known
	for i := range 3 * maxKnown {
		k.put(info(fmt.Sprint(i), "x"), 0, now)
		if n := len(k.infos); n > maxKnown {
			t.Fatalf("%d are known", n)
		}
	}
	expect(t, &k, fmt.Sprint(3*maxKnown-1), "x", now)
}
