// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"io"
	"sync"
)

const (
	// chunk is how much is read at a time, and chunks how many may wait to be
	// used. Together they bound the memory of a readAhead.
	chunk  = 128 << 10
	chunks = 8
)

// readAhead reads from r in a goroutine of its own, so that receiving,
// decompressing and writing files go on at the same time.
type readAhead struct {
	full   chan filled
	empty  chan []byte
	closed chan struct{}
	once   sync.Once
	now    filled // what Read is giving out
	rest   []byte
}

type filled struct {
	buf []byte
	n   int
	err error
}

// newReadAhead starts to read r. When reading has ended, by r's end or by close,
// it calls done in the goroutine that read.
func newReadAhead(r io.Reader, done func()) *readAhead {
	a := &readAhead{
		full:   make(chan filled, chunks),
		empty:  make(chan []byte, chunks),
		closed: make(chan struct{}),
	}
	for range chunks {
		a.empty <- nil
	}
	go func() {
		if done != nil {
			defer done()
		}
		a.fill(r)
	}()
	return a
}

func (a *readAhead) fill(r io.Reader) {
	for {
		var buf []byte
		select {
		case buf = <-a.empty:
		case <-a.closed:
			return
		}
		if buf == nil {
			buf = make([]byte, chunk)
		}
		n, err := fillBuffer(r, buf)
		select {
		case a.full <- filled{buf, n, err}:
		case <-a.closed:
			return
		}
		if err != nil {
			return
		}
	}
}

// fillBuffer reads until a good part of buf is full, so that a source that gives
// little at a time costs few hand-overs.
func fillBuffer(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf)/2 && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

// Read gives what has been read, or an error once the readAhead is closed.
func (a *readAhead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.now.buf != nil {
			a.empty <- a.now.buf
		}
		select {
		case a.now = <-a.full:
		case <-a.closed:
			a.now = filled{err: io.ErrClosedPipe}
		}
		a.rest = a.now.buf[:a.now.n]
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// close makes the goroutine end as soon as its current Read of r returns. It
// does not wait for that.
func (a *readAhead) close() { a.once.Do(func() { close(a.closed) }) }
