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
	for {
		f := st.flow
		switch {
		case st.closed:
			return st.errClosed("read from")
		case st.readBy.expired:
			return st.errDeadline("read from")
		case st.reading:
		case f.unwanted && f.err != nil:
			return f.err
		case f.queue.size > 0:
			return nil
		case f.finRcvd:
			return io.EOF
		case f.err != nil:
			return f.err
		}
		st.read.Wait()
	}
}

// consumeLocked drops what has been read and lets the next reader go on.
func (st *Stream) consumeLocked(n int) {
	if st.flow.unwanted {
		st.dropLocked()
	} else {
		st.s.core.consume(st.flow, n)
		st.s.kickLocked()
	}
	if st.flow.queue.size > 0 || st.closed {
		st.read.Signal()
	}
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
