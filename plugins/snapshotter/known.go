// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"maps"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
)

const (
	// knownFor is how long the HOST's word about a snapshot is good. Whoever changes snapshots does it through the
	// snapshotter, which then forgets what it knew; this bounds how long anything else goes unseen, such as a store that
	// was emptied.
	knownFor = 5 * time.Second
	// maxKnown bounds the memory, at some 500 bytes each.
	maxKnown = 4096
)

// known is what the HOST has said of snapshots. containerd asks of each snapshot again for every look at all of them,
// and dockerd looks ten times a second for each layer of a pull. The zero value is ready for use; it is safe for
// concurrent use.
type known struct {
	mu    sync.Mutex
	infos map[string]told
	// changes counts the changes that have begun or ended: an answer that was asked for before one may be older than it.
	changes  uint64
	changing int
}

type told struct {
	info  snapshots.Info
	until time.Time
}

// get tells what is known of a snapshot, and otherwise which changes there have been, for put.
func (k *known) get(key string, now time.Time) (info snapshots.Info, changes uint64, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t, ok := k.infos[key]
	if !ok || now.After(t.until) {
		return snapshots.Info{}, k.changes, false
	}
	t.info.Labels = maps.Clone(t.info.Labels)
	return t.info, k.changes, true
}

// put takes note of an answer, unless something may have changed since it was asked for.
func (k *known) put(info snapshots.Info, changes uint64, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.changing > 0 || k.changes != changes {
		return
	}
	if k.infos == nil || len(k.infos) >= maxKnown {
		k.infos = map[string]told{}
	}
	info.Labels = maps.Clone(info.Labels)
	k.infos[info.Name] = told{info, now.Add(knownFor)}
}

// change forgets what is known of a snapshot that is about to change, and of all that is told until done is called.
func (k *known) change(key string) (done func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.changes++
	k.changing++
	delete(k.infos, key)
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.changes++
		k.changing--
		delete(k.infos, key)
	}
}
