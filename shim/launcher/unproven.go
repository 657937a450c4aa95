// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/container-offload/offload/udsbridge/link"
)

// maxUnproven is how many halves may be busy at once with connections whose peers
// have not shown yet that they are the DPU: whoever reaches the port can send the
// name of a pod.
const maxUnproven = 16

// unproven has the connections that are being proven. One that takes too long goes
// when others wait for its place.
type unproven struct {
	patience time.Duration

	mu      sync.Mutex
	entries []*proving    // oldest first
	room    chan struct{} // closed, and replaced, when an entry leaves
}

type proving struct {
	in      *link.Incoming
	since   time.Time
	aborted bool // it leaves soon
}

func newUnproven(patience time.Duration) *unproven {
	return &unproven{patience: patience, room: make(chan struct{})}
}

// enter waits for a place, which is the connection's until leave is called.
func (u *unproven) enter(ctx context.Context, in *link.Incoming) (leave func(), err error) {
	for {
		e, room, wait := u.tryEnter(in)
		if e != nil {
			return func() { u.leave(e) }, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-room:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("await a place for the connection of %s: %w", in.Peer, ctx.Err())
		}
	}
}

// tryEnter takes a place if there is one. Otherwise it says when there may be: a
// place has been given back, or somebody has had one for too long.
func (u *unproven) tryEnter(in *link.Incoming) (e *proving, room <-chan struct{}, wait time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.entries) < maxUnproven {
		e = &proving{in: in, since: time.Now()}
		u.entries = append(u.entries, e)
		return e, nil, 0
	}
	wait = u.patience
	for _, e := range u.entries {
		if e.aborted {
			continue
		}
		if wait = time.Until(e.since.Add(u.patience)); wait > 0 {
			break
		}
		e.aborted = true
		e.in.Abort()
		wait = u.patience
		break
	}
	return nil, u.room, wait
}

func (u *unproven) leave(e *proving) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.entries = slices.DeleteFunc(u.entries, func(other *proving) bool { return other == e })
	close(u.room)
	u.room = make(chan struct{})
}
