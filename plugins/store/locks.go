// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"math"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/container-offload/offload/plugins/wire"
)

// locks are reader-writer locks, one for each snapshot that is locked, which
// can be waited for as long as a context lasts. Waiters are served in order.
// The zero value is ready.
type locks struct {
	mu   sync.Mutex
	held map[wire.ID]*heldLock
}

type heldLock struct {
	users int // holders and waiters
	sem   *semaphore.Weighted
}

// whole is what a writer takes of a lock; a reader takes 1.
const whole = math.MaxInt64

// lock takes the snapshot's lock for writing.
func (l *locks) lock(ctx context.Context, id wire.ID) (unlock func(), err error) {
	return l.acquire(ctx, id, whole)
}

// rlock takes the snapshot's lock for reading, after it has called prepare
// while holding it for writing.
func (l *locks) rlock(ctx context.Context, id wire.ID, prepare func() error) (unlock func(), err error) {
	unlockAll, err := l.acquire(ctx, id, whole)
	if err != nil {
		return nil, err
	}
	if err := prepare(); err != nil {
		unlockAll()
		return nil, err
	}
	l.mu.Lock()
	h := l.held[id]
	l.mu.Unlock()
	h.sem.Release(whole - 1)
	return func() { l.drop(id, h, 1) }, nil
}

func (l *locks) acquire(ctx context.Context, id wire.ID, weight int64) (func(), error) {
	l.mu.Lock()
	h := l.held[id]
	if h == nil {
		if l.held == nil {
			l.held = map[wire.ID]*heldLock{}
		}
		h = &heldLock{sem: semaphore.NewWeighted(whole)}
		l.held[id] = h
	}
	h.users++
	l.mu.Unlock()
	if err := h.sem.Acquire(ctx, weight); err != nil {
		l.drop(id, h, 0)
		return nil, err
	}
	return func() { l.drop(id, h, weight) }, nil
}

func (l *locks) drop(id wire.ID, h *heldLock, weight int64) {
	h.sem.Release(weight)
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.users--; h.users == 0 {
		delete(l.held, id)
	}
}
