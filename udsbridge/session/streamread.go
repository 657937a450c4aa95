// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"
	"io"
)

// Read reads as net.Conn describes.
func (st *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s := st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := st.awaitDataLocked(); err != nil {
		return 0, err
	}
	var views [8][]byte
	view := st.flow.queue.view(views[:0:8], len(p))
	var n int
	if min(len(p), st.flow.queue.size) <= smallPayload {
		n = gather(p, view)
	} else {
		st.reading = true
		s.mu.Unlock()
		n = gather(p, view)
		s.mu.Lock()
		st.reading = false
	}
	st.consumeLocked(n)
	return n, nil
}

func gather(p []byte, view [][]byte) int {
	n := 0
	for _, b := range view {
		n += copy(p[n:], b)
	}
	return n
}

// awaitDataLocked waits until there is something to read and nobody else reads.
func (st *Stream) awaitDataLocked() error {
	ok, err := st.dataLocked()
	if ok || err != nil {
		return err
	}
	for !ok && err == nil {
		st.s.waitLocked(&st.read)
		ok, err = st.dataLocked()
	}
	st.s.passLocked()
	return err
}

// dataLocked reports whether there is something that the caller may read.
func (st *Stream) dataLocked() (bool, error) {
	f := st.flow
	switch {
	case st.closed:
		return false, st.errClosed("read from")
	case st.readBy.expired:
		return false, st.errDeadline("read from")
	case st.reading:
		return false, nil
	case f.unwanted && f.err != nil:
		return false, f.err
	case f.queue.size > 0:
		return true, nil
	case f.finRcvd:
		return false, io.EOF
	default:
		return false, f.err
	}
}

// consumeLocked drops what has been read and lets the next reader go on.
func (st *Stream) consumeLocked(n int) {
	if st.flow.unwanted {
		st.dropLocked()
	} else {
		st.s.core.consume(st.flow, n)
	}
	// Another one may wait for this one to be done, whatever there is to read.
	st.s.wakeLocked(&st.read)
	st.s.pushLocked()
}

// WriteTo writes to w what the stream has until it ends.
func (st *Stream) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		n, err := st.writeSome(w)
		total += int64(n)
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// writeSome writes one piece of what has arrived, from where it is.
func (st *Stream) writeSome(w io.Writer) (int, error) {
	s := st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := st.awaitDataLocked(); err != nil {
		return 0, err
	}
	b := st.flow.queue.view(nil, maxPayload)[0]
	st.reading = true
	s.mu.Unlock()
	n, err := w.Write(b)
	s.mu.Lock()
	st.reading = false
	st.consumeLocked(n)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return n, err
}
