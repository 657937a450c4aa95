// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"sync"
	"time"

	"github.com/container-offload/offload/remotefs/wire"
)

// Whoever reads the client's requests also works on a short one at once if no
// other is there yet: two goroutines less have to be woken for it. Should it not
// be so short after all, such as a look-up on a slow disk, somebody else takes
// the reader's place.

const (
	// slow is after which time the reader is replaced, at the latest after
	// twice of it.
	slow = time.Millisecond
	// restAfter is how many times slow nothing is read before nobody looks at
	// the reader any more.
	restAfter = 50
	// inlineData is the most data in bytes that a short request has, or asks
	// for.
	inlineData = 16 << 10
)

// turn says which goroutine reads.
type turn struct {
	mu      sync.Mutex
	reader  int    // grows when the reader is replaced
	work    uint64 // of the reader, counted
	busy    bool   // with it
	resting bool   // nobody looks
	wake    chan struct{}
}

func newTurn() *turn { return &turn{resting: true, wake: make(chan struct{}, 1)} }

// begin says that the reader works on a request.
func (t *turn) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.work++
	t.busy = true
	if t.resting {
		t.resting = false
		t.wake <- struct{}{}
	}
}

// end says that it is done, and reports whether the caller is the reader still.
func (t *turn) end(reader int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reader != reader {
		return false
	}
	t.busy = false
	return true
}

// watch calls replace when the reader has worked for too long on one request.
func (t *turn) watch(ctx context.Context, replace func(reader int)) {
	tick := time.NewTimer(slow)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		}
		seen, quiet := uint64(0), 0
		for quiet < restAfter {
			tick.Reset(slow)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			seen, quiet = t.look(seen, quiet, replace)
		}
	}
}

// look replaces the reader if it is at the work that was seen before.
func (t *turn) look(seen uint64, quiet int, replace func(reader int)) (uint64, int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.work != seen:
		quiet = 0
	case t.busy:
		t.busy = false
		t.reader++
		replace(t.reader)
	default:
		quiet++
		t.resting = quiet == restAfter
	}
	return t.work, quiet
}

// short reports whether a request is one that takes little time as a rule.
func (s *session) short(t *task) bool {
	switch t.req.Op {
	case wire.OpFsync, wire.OpSyncFS, wire.OpCopyRange, wire.OpFallocate, wire.OpReadDir, wire.OpSetLock:
		return false
	case wire.OpLookup:
		if s.resolves() {
			return false
		}
	}
	return len(t.buf) <= inlineData && s.in.Empty()
}

// resolves reports whether looking up a name may call an export's Resolve.
func (s *session) resolves() bool { return !s.single || s.root.Resolve != nil }
