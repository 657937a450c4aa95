// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"sync"

	"golang.org/x/sys/unix"
)

// handle is a file or directory that the client has open. uses and dead are
// protected by the session's mutex.
type handle struct {
	id   uint64
	exp  *export
	node uint64
	fd   int // -1: the directory of all exports
	dir  bool

	uses int
	dead bool

	mu      sync.Mutex // for what follows, of a directory
	entries []byte     // what getdents gave and was not sent
	next    uint64     // the offset of the first of entries
	names   []string   // of the directory of all exports
}

func (h *handle) closeIfUnused() {
	if h.dead && h.uses == 0 && h.fd >= 0 {
		unix.Close(h.fd)
		h.fd = -1
	}
}

// open makes fd, which it takes over, a handle.
func (s *session) open(n *node, nodeID uint64, fd int, dir bool) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	switch {
	case s.closed || n.exp != nil && n.exp.removed.Load():
		err = unix.ESTALE
	case len(s.handles) >= s.srv.opts.MaxHandles:
		err = unix.ENFILE
	}
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return 0, err
	}
	s.lastHandle++
	s.handles[s.lastHandle] = &handle{id: s.lastHandle, exp: n.exp, node: nodeID, fd: fd, dir: dir}
	return s.lastHandle, nil
}

// use finds the client's handle for a request to work on.
func (s *session) use(id uint64, dir bool) (*handle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.handles[id]
	switch {
	case h == nil || h.dir != dir:
		return nil, unix.EBADF
	case h.dead:
		return nil, unix.ESTALE
	}
	h.uses++
	return h, nil
}

// done ends what use began.
func (s *session) done(h *handle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.uses--
	h.closeIfUnused()
}

// release closes a handle once no request works on it.
func (s *session) release(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.handles[id]; h != nil {
		delete(s.handles, id)
		h.dead = true
		h.closeIfUnused()
	}
}
