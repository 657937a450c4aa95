// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"sync"
	"sync/atomic"
)

const (
	// prefetch is up to how many bytes a file's content comes with the reply to its
	// first open.
	prefetch = 32 << 10
	// maxAhead bounds how many files' content is kept for a read that may never
	// come.
	maxAhead = 64
)

// ahead is the content that came with opens, until the reads that follow. A change
// of a file through this mount takes back what is kept of it, and what is still to
// come with an open that was asked for before the change was done. The zero value
// is ready for use; it is safe for concurrent use.
type ahead struct {
	// some is how many there are in both maps, so that a write need not lock.
	some  atomic.Int32
	mu    sync.Mutex
	kept  map[uint64]content // by handle
	asked map[*asked]struct{}
}

// content is what came with an open of a node.
type content struct {
	node uint64
	data []byte
}

// asked is an open under way with whose reply content may come.
type asked struct {
	node uint64
	old  bool // what comes is from before a change
}

// ask takes note of an open before it is asked for. keep must follow.
func (a *ahead) ask(node uint64) *asked {
	k := &asked{node: node}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asked == nil {
		a.asked = map[*asked]struct{}{}
	}
	a.asked[k] = struct{}{}
	a.count()
	return k
}

// keep keeps the whole content that came with an open for the read that follows.
// There may be none.
func (a *ahead) keep(k *asked, handle uint64, data []byte) {
	if len(data) < cap(data)/2 {
		data = bytes.Clone(data)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.asked, k)
	if len(data) > 0 && !k.old && len(a.kept) < maxAhead {
		if a.kept == nil {
			a.kept = map[uint64]content{}
		}
		a.kept[handle] = content{k.node, data}
	}
	a.count()
}

// take gives the content that came with an open to a read from the start. It is
// given once: another read, later, may find the file changed by somebody else.
func (a *ahead) take(handle, offset uint64) []byte {
	if a.some.Load() == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.kept[handle]
	delete(a.kept, handle)
	a.count()
	if offset != 0 {
		return nil
	}
	return c.data
}

// changed takes back the content of a node, after each request that may have
// changed it and before its caller hears of it. Before the request there is no need
// to: a read beside a change may see either.
func (a *ahead) changed(node uint64) {
	if a.some.Load() == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for k := range a.asked {
		k.old = k.old || k.node == node
	}
	for handle, c := range a.kept {
		if c.node == node {
			delete(a.kept, handle)
		}
	}
	a.count()
}

func (a *ahead) count() { a.some.Store(int32(len(a.kept) + len(a.asked))) }
