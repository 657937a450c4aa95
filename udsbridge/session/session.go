// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	// handshakeTimeout bounds the exchange of hello and answer.
	handshakeTimeout = 10 * time.Second
	// closeTimeout bounds how long Close waits for the peer.
	closeTimeout = 5 * time.Second
	// byeTimeout bounds how long Close waits for the peer to hang up after BYE.
	byeTimeout = time.Second
	// ackDelay is how long an acknowledgement may wait for something to go with.
	ackDelay = 20 * time.Millisecond
	// batchBytes is about how much is written at once.
	batchBytes = 256 << 10
)

// Session is one end of a session. Its methods may be called concurrently.
//
// A session has two goroutines: one reads when nobody who waits for a stream does (see
// turn), and on the dialling end also redials; one writes. Streams have none.
type Session struct {
	cfg    Config
	id     sessionID
	dialer bool
	onEnd  func() // nil, or called once, with mu held
	done   chan struct{}
	// ctx ends with the session.
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	core    *core
	conn    *attachment // nil without a connection
	resume  time.Duration
	err     error
	lastErr error  // why there is no connection, or was none last time
	closing bool   // Close was called
	leaving bool   // BYE was sent
	attempt uint32 // the greatest of a hello

	write     sync.Cond   // wakes the writer
	writing   bool        // somebody writes to conn
	begun     *attachment // has taken a part of out; writeLoop does the rest
	out       batch
	blocked   []*Stream // wait for room in the log, first come first served
	turnPause time.Duration
	followers []*waiter // wait for what somebody else reads
	urgent    int       // how many others do, who can't read themselves
	changed   chan struct{}
	lastRead  time.Time
	keepalive *time.Timer
	resuming  *time.Timer // ends the session
	ackTimer  *time.Timer
	ackArmed  bool

	listeners map[string]*listener
	waiting   map[string][]*Stream // nobody has listened for them yet
	ready     bool
	grace     *time.Timer

	stats Stats
}

// errClosedHere is the end of a session after Close.
var errClosedHere = fmt.Errorf("%w here", ErrClosed)

// batch is what is being written.
type batch struct {
	ctl  []byte
	bufs [][]byte
	skip int // how many bytes of bufs were written by tryBatch
}

func newSession(cfg Config, id sessionID, dialer bool) *Session {
	s := &Session{
		cfg: cfg, id: id, dialer: dialer,
		done:      make(chan struct{}),
		core:      newCore(cfg.core(dialer)),
		turnPause: turnPause,
	}
	s.resume = cfg.ResumeTimeout
	s.write.L = &s.mu
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// start makes the session live with its first connection.
func (s *Session) start() {
	s.grace = time.AfterFunc(s.cfg.ListenGrace, s.Ready)
	go s.writeLoop()
}

// terms returns what to tell the peer with a connection.
func (s *Session) terms() terms {
	t := s.core.terms()
	t.resume = s.cfg.ResumeTimeout
	return t
}

// attachLocked begins to use a connection, whose other end has sent t. The caller
// runs readLoop.
func (s *Session) attachLocked(conn net.Conn, t terms) (*attachment, error) {
	if err := s.core.connect(t); err != nil {
		s.failLocked(fmt.Errorf("session with %s: %w", s.cfg.Name, err))
		return nil, s.err
	}
	s.resume = s.cfg.ResumeTimeout
	if t.resume > 0 {
		s.resume = min(s.resume, t.resume)
	}
	a := attach(conn)
	s.core.windowLimit = min(s.cfg.WindowBytes, windowFor(roundTrip(a.conn)))
	a.interruptible = a.conn.SetReadDeadline(time.Time{}) == nil
	a.turn.wake.L = &s.mu
	a.turn.due = true
	s.conn = a
	if s.resuming != nil {
		s.resuming.Stop()
		s.stats.Reconnects++
	}
	s.lastRead = time.Now()
	s.keepalive = time.AfterFunc(s.cfg.KeepaliveInterval, func() { s.checkAlive(a) })
	s.write.Signal()
	s.notifyLocked()
	return a, nil
}

// detachLocked stops using a connection. It does nothing if that has happened already.
func (s *Session) detachLocked(a *attachment, reason error) {
	if s.conn != a {
		return
	}
	s.conn = nil
	s.core.disconnect()
	s.keepalive.Stop()
	a.turn.wake.Signal()
	a.interruptLocked()
	if a.turn.pause != nil {
		a.turn.pause.Stop()
	}
	if !a.turn.taken {
		a.frames.close()
	}
	// Closing a TLS connection may wait for its peer.
	go a.conn.Close()
	if s.err != nil {
		return
	}
	if s.leaving {
		s.failLocked(errClosedHere)
		return
	}
	s.lastErr = reason
	s.cfg.Logger.Info("link lost, waiting for it to come back", "peer", s.cfg.Name, "session", s.id, "reason", reason, "for", s.resume)
	s.resuming = time.AfterFunc(s.resume, s.expire)
	s.notifyLocked()
}

// expire ends a session that has had no connection for too long.
func (s *Session) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		s.failLocked(fmt.Errorf("%w: %s did not come back within %s: %w", ErrLinkLost, s.cfg.Name, s.resume, s.lastErr))
	}
}

// failLocked ends the session. The first reason counts.
func (s *Session) failLocked(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	s.core.fail(err)
	s.dispatchLocked()
	if s.conn != nil {
		s.detachLocked(s.conn, err)
	}
	for _, t := range []*time.Timer{s.grace, s.resuming, s.ackTimer} {
		if t != nil {
			t.Stop()
		}
	}
	s.closeListenersLocked()
	for _, st := range s.blocked {
		st.write.Broadcast()
	}
	s.blocked = nil
	if s.onEnd != nil {
		s.onEnd()
	}
	s.cancel()
	close(s.done)
	s.write.Broadcast()
	s.notifyLocked()
	s.cfg.Logger.Debug("session ended", "peer", s.cfg.Name, "session", s.id, "reason", err)
}

// changeLocked returns a channel that is closed when the session connects,
// disconnects, ends, or has delivered everything.
func (s *Session) changeLocked() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

func (s *Session) notifyLocked() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// checkAlive asks the peer for a sign of life, or gives the connection up.
func (s *Session) checkAlive(a *attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != a {
		return
	}
	silence := time.Since(s.lastRead)
	interval := s.cfg.KeepaliveInterval
	if !s.dialer {
		// The dialling end asks first; its questions are signs of life too.
		interval += interval / 2
	}
	if silence >= s.cfg.DeadAfter {
		s.detachLocked(a, fmt.Errorf("no sign of life for %s", s.cfg.DeadAfter))
		return
	}
	next := interval - silence
	if next <= 0 {
		s.core.ping(uint64(silence))
		s.write.Signal()
		next = interval
	}
	s.keepalive.Reset(min(next, s.cfg.DeadAfter-silence))
}

// Open opens a stream to a service of the peer. It costs no round trip: a service
// that the peer does not offer shows when the stream is read or written. header
// reaches the service with the stream. Without a connection Open waits for one as
// long as Config.OpenTimeout and ctx allow, then fails with ErrDisconnected.
func (s *Session) Open(ctx context.Context, service string, header []byte) (*Stream, error) {
	st, err := s.open(ctx, service, header)
	if err != nil {
		return nil, fmt.Errorf("open stream %q to %s: %w", service, s.cfg.Name, err)
	}
	return st, nil
}

func (s *Session) open(ctx context.Context, service string, header []byte) (*Stream, error) {
	if !validService(service) {
		return nil, errors.New("not a name of 1 to 255 bytes of printable text")
	}
	if len(header) > MaxHeader {
		return nil, fmt.Errorf("header of %d bytes, more than %d", len(header), MaxHeader)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.awaitLinkLocked(ctx); err != nil {
		return nil, err
	}
	if s.closing {
		return nil, ErrClosed
	}
	f, err := s.core.open(service, append([]byte(nil), header...))
	if err != nil {
		return nil, err
	}
	st := newStream(s, f)
	s.kickLocked()
	return st, nil
}

// awaitLinkLocked waits until there is a connection.
func (s *Session) awaitLinkLocked(ctx context.Context) error {
	var timeout <-chan time.Time
	for {
		if s.err != nil {
			return s.err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.conn != nil {
			return nil
		}
		if timeout == nil {
			t := time.NewTimer(s.cfg.OpenTimeout)
			defer t.Stop()
			timeout = t.C
		}
		changed := s.changeLocked()
		s.mu.Unlock()
		var err error
		select {
		case <-changed:
		case <-ctx.Done():
			err = ctx.Err()
		case <-timeout:
			err = ErrDisconnected
		}
		s.mu.Lock()
		if err != nil && s.conn == nil && s.err == nil {
			return fmt.Errorf("%w: %w", err, s.lastErr)
		}
	}
}

// Ready says that all services are listened for: from now on streams for others
// are reset at once. Without it that begins with the end of Config.ListenGrace.
func (s *Session) Ready() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready || s.err != nil {
		return
	}
	s.ready = true
	s.grace.Stop()
	for service, streams := range s.waiting {
		for _, st := range streams {
			s.resetLocked(st, notOffered(service))
		}
	}
	s.waiting = nil
	s.kickLocked()
}

// Close sends what was written, waits until the peer has it, five seconds at
// most, and ends the session on both ends. The error tells what could not be
// delivered.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	err := s.flushLocked()
	if s.conn != nil && s.err == nil {
		s.leaving = true
		s.core.sayBye("")
		s.kickLocked()
		s.awaitLocked(byeTimeout, func() bool { return s.err != nil })
	}
	s.failLocked(errClosedHere)
	return err
}

// flushLocked waits until the peer has acknowledged everything.
func (s *Session) flushLocked() error {
	if s.err != nil {
		return nil
	}
	// The answer brings the acknowledgement along, which could wait otherwise.
	s.core.ping(0)
	s.kickLocked()
	s.awaitLocked(closeTimeout, func() bool { return s.err != nil || s.core.log.kept() == 0 })
	if kept := s.core.log.kept(); s.err == nil && kept > 0 {
		return fmt.Errorf("close session with %s: %d bytes were not delivered within %s", s.cfg.Name, kept, closeTimeout)
	}
	if s.err != nil && !errors.Is(s.err, ErrClosed) {
		return fmt.Errorf("close session with %s: %w", s.cfg.Name, s.err)
	}
	return nil
}

// awaitLocked waits for a change after which until returns true.
func (s *Session) awaitLocked(timeout time.Duration, until func() bool) {
	t := time.NewTimer(timeout)
	defer t.Stop()
	s.urgent++
	defer func() { s.urgent-- }()
	s.passLocked()
	for !until() {
		changed := s.changeLocked()
		s.mu.Unlock()
		expired := false
		select {
		case <-changed:
		case <-t.C:
			expired = true
		}
		s.mu.Lock()
		if expired {
			return
		}
	}
}

// Done returns a channel that is closed when the session has ended. The loss of a
// connection does not end a session, only of the hope for another.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns why the session has ended, and nil before. After Close it wraps
// ErrClosed.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// PeerClosed reports whether there is no connection because the other end, or its
// kernel, has closed the last one. A link that is cut closes nothing.
func (s *Session) PeerClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn == nil && isClosed(s.lastErr)
}

// Stats are figures about a session.
type Stats struct {
	Peer      string // Config.Name
	Connected bool
	Streams   int // open now
	// Reconnects counts connections after the first.
	Reconnects uint64
	// SentBytes and ReceivedBytes count frames of all connections, replays and
	// overhead included.
	SentBytes, ReceivedBytes uint64
	// ReplayBytes is how much is kept now for sending again.
	ReplayBytes int
	// LastError is why the last connection was lost or could not be made.
	LastError string
}

// Stats returns figures about the session.
func (s *Session) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Peer = s.cfg.Name
	st.Connected = s.conn != nil
	st.Streams = len(s.core.flows)
	st.ReplayBytes = s.core.log.kept()
	if s.lastErr != nil {
		st.LastError = s.lastErr.Error()
	}
	return st
}
