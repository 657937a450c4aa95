// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// handshakeTimeout is how long the peer may take for TLS.
	handshakeTimeout = 10 * time.Second
	// lingerTimeout is how long a refused peer may take to hang up.
	lingerTimeout = time.Second
	// lingerBytes is how much it may still send.
	lingerBytes = 64 << 10
)

// Incoming is a connection whose preamble has been read and nothing else. It
// belongs to one goroutine at a time.
type Incoming struct {
	Target Target
	// Peer is the other end's address, as the kernel tells.
	Peer string

	conn     plainConn
	security Security
	release  func() // gives up the place among the pending ones, if any
	used     bool   // the connection is somebody else's, or closed
}

// Handovers takes over connections from the process that listens, and bounds how
// many of them may be on their way to their Handshake: one more makes the oldest go.
// Its methods may be called concurrently.
type Handovers struct {
	security Security
	pending  *pending
}

// NewHandovers returns one for up to limit connections. security must be as the
// process that listens has it.
func NewHandovers(security Security, limit int) *Handovers {
	return &Handovers{security: security, pending: newPending(limit)}
}

// Take is Handover, with a place among the others.
func (h *Handovers) Take(f *os.File, target Target) (*Incoming, error) {
	in, err := Handover(f, target, h.security)
	if err == nil {
		in.release = h.pending.add(in.conn)
	}
	return in, err
}

// Handover rebuilds an Incoming from a descriptor that another process got from
// File and sent along with the target. f stays the caller's. security must be as
// that other process had it.
func Handover(f *os.File, target Target, security Security) (*Incoming, error) {
	if err := target.Validate(); err != nil {
		return nil, fmt.Errorf("take over connection: %w", err)
	}
	conn, scheme, err := fromFile(f)
	if err != nil {
		return nil, fmt.Errorf("take over connection to %s: %w", target, err)
	}
	if err := security.Validate(Address{Scheme: scheme}); err != nil {
		conn.Close()
		return nil, fmt.Errorf("take over connection to %s: %w", target, err)
	}
	return &Incoming{Target: target, Peer: peerName(conn), conn: conn, security: security}, nil
}

// File returns a duplicate of the connection, to be passed to another process.
// Both must be closed.
func (in *Incoming) File() (*os.File, error) {
	if in.used {
		return nil, fmt.Errorf("duplicate connection of %s: %w", in.Peer, net.ErrClosed)
	}
	f, err := duplicate(in.conn, "connection of "+in.Peer)
	if err != nil {
		return nil, fmt.Errorf("duplicate connection of %s: %w", in.Peer, err)
	}
	return f, nil
}

// Handshake completes the connection: TLS if the security asks for it, and the
// repeated target must be the preamble's. It takes ten seconds at most. The
// connection is the caller's from then on, and in is used up. On error the peer
// has been told why, as far as possible, and the connection is closed.
func (in *Incoming) Handshake(ctx context.Context) (net.Conn, error) {
	conn, err := in.complete(ctx)
	if err != nil {
		return nil, fmt.Errorf("take connection of %s: %w", in.Peer, err)
	}
	return &taken{halfCloser: conn}, nil
}

// Refuse ends the connection and tells the peer why: its first Read fails with a
// *RefusedError that has the text of reason, cut to 1 KiB.
func (in *Incoming) Refuse(ctx context.Context, reason error) error {
	conn, err := in.complete(ctx)
	if err == nil {
		defer conn.Close()
		err = tell(conn, reason)
	}
	if err != nil {
		return fmt.Errorf("refuse connection of %s: %w", in.Peer, err)
	}
	return nil
}

// complete uses up in and returns its connection, ready for the verdict.
func (in *Incoming) complete(ctx context.Context) (conn halfCloser, err error) {
	if in.used {
		return nil, net.ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	plain := in.conn
	err = within(ctx, plain, func() error {
		conn, err = in.secure(ctx)
		return err
	})
	if err != nil {
		in.Close()
		return nil, err
	}
	in.finish()
	return conn, nil
}

// secure does TLS.
func (in *Incoming) secure(ctx context.Context) (halfCloser, error) {
	if in.security.TLS == nil {
		return in.conn, nil
	}
	conn := newServer(in.conn, in.security.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	want := preamble{tls: true, target: in.Target}.encode()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		return nil, fmt.Errorf("read the repeated target: %w", noEOF(err))
	}
	if !bytes.Equal(got, want) {
		err := errors.New("target inside TLS is not that of the preamble")
		return nil, errors.Join(err, tell(conn, err))
	}
	return conn, nil
}

// tell refuses a connection.
func tell(conn halfCloser, reason error) error {
	if err := conn.SetDeadline(time.Now().Add(lingerTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write(refusal(reason)); err != nil {
		return err
	}
	linger(conn)
	return nil
}

// linger lets the peer hang up first: closing a socket with unread data would
// take away from it what was written last.
func linger(conn halfCloser) {
	if conn.CloseWrite() != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(lingerTimeout))
	_, _ = io.Copy(io.Discard, io.LimitReader(conn, lingerBytes))
}

// Abort ends the connection in every process that has it, so that whoever waits in
// its Handshake fails. It may be called at any time, by anybody.
func (in *Incoming) Abort() { shutdown(in.conn) }

// Close drops the connection. It does nothing after Handshake or Refuse.
func (in *Incoming) Close() error {
	if in.used {
		return nil
	}
	in.finish()
	return in.conn.Close()
}

func (in *Incoming) finish() {
	in.used = true
	if in.release != nil {
		in.release()
	}
}

// pending are the connections that have not shown yet that they may be there.
type pending struct {
	max int

	mu     sync.Mutex
	queue  []*pendingConn // oldest first
	closed bool
}

type pendingConn struct {
	conn     plainConn
	returned bool // by Accept
}

func newPending(limit int) *pending { return &pending{max: limit} }

// add makes room for a connection and returns what gives the place back.
func (p *pending) add(c plainConn) (release func()) {
	e := &pendingConn{conn: c}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
	}
	if len(p.queue) >= p.max {
		p.dropLocked(p.queue[0])
	}
	p.queue = append(p.queue, e)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.removeLocked(e)
	}
}

func (p *pending) removeLocked(e *pendingConn) {
	for i, other := range p.queue {
		if other == e {
			p.queue = append(p.queue[:i], p.queue[i+1:]...)
			return
		}
	}
}

// dropLocked makes whoever waits for the connection fail, and so give it up, in
// another process too.
func (p *pending) dropLocked(e *pendingConn) {
	p.removeLocked(e)
	shutdown(e.conn)
	_ = e.conn.Close()
}

// dropOldest makes room in a process that has no descriptors left.
func (p *pending) dropOldest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) > 0 {
		p.dropLocked(p.queue[0])
	}
}

// returned says that a connection is no longer the listener's.
func (p *pending) returned(c plainConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.queue {
		if e.conn == c {
			e.returned = true
		}
	}
}

// drop ends those that are still the listener's, and all that come later.
func (p *pending) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, e := range p.queue {
		if !e.returned {
			_ = e.conn.Close()
		}
	}
}
