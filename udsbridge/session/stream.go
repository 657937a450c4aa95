// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Stream is one stream of a session. It is a net.Conn, and its methods may be
// called concurrently.
//
// Read returns io.EOF after the peer's CloseWrite or Close. A stream that either
// end has reset fails with a *ResetError at once; one whose session has ended
// fails with the session's error after what had arrived has been read.
type Stream struct {
	s    *Session
	flow *flow

	// All below is protected by s.mu.
	read        waiter
	write       sync.Cond
	reading     bool   // somebody reads and has a view of flow.queue
	busy        bool   // somebody writes
	queued      bool   // in s.blocked
	waiting     bool   // somebody waits for room or credit
	writeClosed bool   // by CloseWrite or Close
	closed      bool   // by Close
	notify      func() // nil, or waits in AwaitReadable
	readBy      deadline
	writeBy     deadline
}

var (
	_ net.Conn      = (*Stream)(nil)
	_ io.ReaderFrom = (*Stream)(nil)
	_ io.WriterTo   = (*Stream)(nil)
)

func newStream(s *Session, f *flow) *Stream {
	st := &Stream{s: s, flow: f}
	st.read.L, st.write.L = &s.mu, &s.mu
	f.stream = st
	return st
}

// Service returns the name of the service the stream was opened to.
func (st *Stream) Service() string { return st.flow.service }

// Header returns the header the stream was opened with. It must not be changed.
func (st *Stream) Header() []byte { return st.flow.header }

// LocalAddr returns an address that names this end of the session.
func (st *Stream) LocalAddr() net.Addr {
	return addr(fmt.Sprintf("session %s stream %d", st.s.id, st.flow.id))
}

// RemoteAddr returns an address with the peer's name.
func (st *Stream) RemoteAddr() net.Addr { return addr(st.s.cfg.Name) }

// CloseWrite ends the outgoing direction: the peer reads what was written, then
// io.EOF. The other direction is not touched. A Write that still waits for the
// peer to take more fails.
func (st *Stream) CloseWrite() error {
	s := st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.closed {
		return st.errClosed("close")
	}
	if err := st.flow.writeError(); err != nil {
		return err
	}
	st.writeClosed = true
	s.core.finish(st.flow)
	st.write.Broadcast()
	s.kickLocked()
	return nil
}

// Close ends both directions. The peer gets what was written, then io.EOF; what it
// still writes is dropped and its writes fail. Close doesn't wait.
func (st *Stream) Close() error {
	s := st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.closed {
		return nil
	}
	st.closed, st.writeClosed = true, true
	s.core.finish(st.flow)
	s.core.stop(st.flow)
	st.endLocked()
	s.kickLocked()
	return nil
}

// Reset gives up the stream in both directions. What has not been read yet is
// lost, and the peer gets a ResetError with the text of reason, cut to 1 KiB.
func (st *Stream) Reset(reason error) {
	text := "no reason given"
	if reason != nil {
		text = reason.Error()
	}
	s := st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resetLocked(st, text)
	s.kickLocked()
}

func (s *Session) resetLocked(st *Stream, reason string) {
	s.core.reset(st.flow, reason)
	st.endLocked()
}

// endLocked wakes everybody and frees what nobody will read.
func (st *Stream) endLocked() {
	st.dropLocked()
	st.readBy.stop()
	st.writeBy.stop()
	st.s.wakeLocked(&st.read)
	st.write.Broadcast()
	st.notifyLocked()
}

// arrivedLocked is called when there is something to read, or an error.
func (st *Stream) arrivedLocked() {
	st.dropLocked()
	st.s.wakeLocked(&st.read)
	st.notifyLocked()
}

// dropLocked frees what has arrived if it isn't wanted any more.
func (st *Stream) dropLocked() {
	if st.flow.unwanted && !st.reading {
		st.flow.queue.drop()
	}
}

func (st *Stream) errClosed(doing string) error {
	return fmt.Errorf("%s stream %q: %w", doing, st.flow.service, net.ErrClosed)
}

// deadline is one direction's deadline.
type deadline struct {
	timer   *time.Timer
	set     int // counts changes, so that a late timer is recognised
	expired bool
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.set++
}

// changeLocked sets the deadline; wakeLocked is called when it has passed.
func (d *deadline) changeLocked(t time.Time, mu *sync.Mutex, wakeLocked func()) {
	d.stop()
	d.expired = false
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.expired = true
		wakeLocked()
		return
	}
	set := d.set
	d.timer = time.AfterFunc(wait, func() {
		mu.Lock()
		defer mu.Unlock()
		if d.set == set {
			d.expired = true
			wakeLocked()
		}
	})
}

// SetDeadline sets both deadlines.
func (st *Stream) SetDeadline(t time.Time) error { return st.setDeadlines(t, true, true) }

// SetReadDeadline sets the deadline of Read, as net.Conn describes.
func (st *Stream) SetReadDeadline(t time.Time) error { return st.setDeadlines(t, true, false) }

// SetWriteDeadline sets the deadline of Write, as net.Conn describes.
func (st *Stream) SetWriteDeadline(t time.Time) error { return st.setDeadlines(t, false, true) }

func (st *Stream) setDeadlines(t time.Time, read, write bool) error {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	if st.closed {
		return st.errClosed("set deadline of")
	}
	if read {
		st.readBy.changeLocked(t, &st.s.mu, func() { st.s.wakeLocked(&st.read) })
	}
	if write {
		st.writeBy.changeLocked(t, &st.s.mu, st.write.Broadcast)
	}
	return nil
}

func (st *Stream) errDeadline(doing string) error {
	return fmt.Errorf("%s stream %q: %w", doing, st.flow.service, os.ErrDeadlineExceeded)
}
