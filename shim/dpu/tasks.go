// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
)

// tasks are a pod's tasks. Its methods may be called concurrently.
type tasks struct {
	mu   sync.Mutex
	byID map[string]*task
	// reserved are the ids of tasks that are being created and that nobody is to
	// find yet.
	reserved map[string]struct{}
	closed   bool
}

// errClosing is what a task is told that comes too late.
var errClosing = fmt.Errorf("the shim is ending: %w", errdefs.ErrUnavailable)

// reserve takes the id, so that of two requests for one id only one goes on.
func (ts *tasks) reserve(id string) error {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.closed {
		return fmt.Errorf("task %q: %w", id, errClosing)
	}
	_, reserved := ts.reserved[id]
	if _, ok := ts.byID[id]; ok || reserved {
		return fmt.Errorf("task %q: %w", id, errdefs.ErrAlreadyExists)
	}
	if ts.reserved == nil {
		ts.reserved = map[string]struct{}{}
	}
	ts.reserved[id] = struct{}{}
	return nil
}

// add puts a task in the place that was reserved for it. It fails if there are to
// be no more tasks; then the task is still the caller's to release.
func (ts *tasks) add(t *task) error {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.closed {
		return fmt.Errorf("task %q: %w", t.id, errClosing)
	}
	delete(ts.reserved, t.id)
	if ts.byID == nil {
		ts.byID = map[string]*task{}
	}
	ts.byID[t.id] = t
	return nil
}

// remove forgets a task, or gives up the place reserved for one.
func (ts *tasks) remove(id string) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	delete(ts.byID, id)
	delete(ts.reserved, id)
}

// get returns the task with the given id or errdefs.ErrNotFound.
func (ts *tasks) get(id string) (*task, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t, ok := ts.byID[id]
	if !ok {
		return nil, fmt.Errorf("task %q: %w", id, errdefs.ErrNotFound)
	}
	return t, nil
}

// count returns how many there are, those that are being created included.
func (ts *tasks) count() int {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return len(ts.byID) + len(ts.reserved)
}

// close takes all tasks out, for the caller to release, and lets no more in.
func (ts *tasks) close() []*task {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.closed = true
	var all []*task
	for _, t := range ts.byID {
		all = append(all, t)
	}
	ts.byID = nil
	return all
}
