// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/mdlayher/vsock"
)

const (
	// preambleTimeout is how long a peer may take to send its preamble.
	preambleTimeout = 5 * time.Second
	// maxPending is how many connections may be on their way to their Handshake. One
	// more makes the oldest go: a peer that means it is never long on that way.
	maxPending = 256
	// acceptPause is the wait after a lack of descriptors or memory.
	acceptPause = 50 * time.Millisecond
)

// Listener accepts connections from the DPU. Its methods may be called
// concurrently.
type Listener struct {
	l        net.Listener
	address  Address
	security Security
	pending  *pending
	ready    chan *Incoming
	cleanup  func() error

	once   sync.Once
	closed chan struct{}
	err    error // why accepting ended, valid if closed
}

// Listen listens on an address. A unix socket that a dead process has left is
// replaced, and Close removes the socket.
func Listen(ctx context.Context, a Address, security Security) (*Listener, error) {
	if err := security.Validate(a); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a, err)
	}
	inner, cleanup, err := listen(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a, err)
	}
	l := &Listener{
		l: inner, address: bound(a, inner.Addr()), security: security, cleanup: cleanup,
		pending: newPending(maxPending), ready: make(chan *Incoming), closed: make(chan struct{}),
	}
	go l.run()
	return l, nil
}

// listen makes the socket. cleanup removes what closing it leaves.
func listen(ctx context.Context, a Address) (l net.Listener, cleanup func() error, err error) {
	switch a.Scheme {
	case SchemeUnix:
		return listenUnix(ctx, a.Path)
	case SchemeVsock:
		l, err = vsock.ListenContextID(a.CID, a.Port, nil)
	default:
		c := net.ListenConfig{KeepAliveConfig: keepalive}
		network, address := a.network()
		l, err = c.Listen(ctx, network, address)
	}
	return l, func() error { return nil }, err
}

// bound returns the address that the listener got.
func bound(a Address, got net.Addr) Address {
	switch got := got.(type) {
	case *net.TCPAddr:
		a.Port = uint32(got.Port)
	case *vsock.Addr:
		a.Port = got.Port
	}
	return a
}

// Accept returns the next connection whose preamble has been read. Those that
// send none in time, or a bad one, are refused without Accept returning. After
// Close the error wraps net.ErrClosed.
func (l *Listener) Accept() (*Incoming, error) {
	select {
	case in := <-l.ready:
		return in, nil
	case <-l.closed:
		return nil, fmt.Errorf("accept on %s: %w", l.address, l.err)
	}
}

// Addr returns the address the listener has, with the port it got.
func (l *Listener) Addr() Address { return l.address }

// Close stops listening and drops the connections that Accept has not returned.
func (l *Listener) Close() error {
	err := l.end(net.ErrClosed)
	if err != nil {
		return fmt.Errorf("close listener on %s: %w", l.address, err)
	}
	return nil
}

func (l *Listener) end(reason error) (err error) {
	l.once.Do(func() {
		l.err = reason
		close(l.closed)
		err = errors.Join(l.l.Close(), l.cleanup())
		l.pending.drop()
	})
	return err
}

func (l *Listener) run() {
	for {
		c, err := l.l.Accept()
		switch {
		case err == nil:
			l.admit(c)
		case isShortage(err):
			l.pending.dropOldest()
			select {
			case <-time.After(acceptPause):
			case <-l.closed:
			}
		case errors.Is(err, syscall.ECONNABORTED):
		default:
			_ = l.end(err)
			return
		}
	}
}

// isShortage reports whether the system lacks something that may be there later.
func isShortage(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// admit begins with a new connection.
func (l *Listener) admit(c net.Conn) {
	if vm, ok := c.RemoteAddr().(*vsock.Addr); ok && !l.security.admits(vm.ContextID) {
		c.Close()
		return
	}
	p, err := tuned(c)
	if err != nil {
		return // the peer is gone already
	}
	in := &Incoming{conn: p, security: l.security}
	in.release = l.pending.add(p)
	go l.meet(in)
}

// meet reads the preamble and hands the connection to Accept.
func (l *Listener) meet(in *Incoming) {
	if err := in.readPreamble(); err != nil {
		in.refuseClear(err)
		in.Close()
		return
	}
	select {
	case l.ready <- in:
		l.pending.returned(in.conn)
	case <-l.closed:
		in.Close()
	}
}

// readPreamble finds out for whom the connection is.
func (in *Incoming) readPreamble() error {
	if err := in.conn.SetReadDeadline(time.Now().Add(preambleTimeout)); err != nil {
		return err
	}
	p, err := readPreamble(in.conn)
	if err != nil {
		return err
	}
	switch wantTLS := in.security.TLS != nil; {
	case wantTLS && !p.tls:
		return errors.New("no connection without TLS is taken here")
	case !wantTLS && p.tls:
		return errors.New("there is no TLS at this address")
	}
	in.Target, in.Peer = p.target, peerName(in.conn)
	return in.conn.SetReadDeadline(time.Time{})
}

// refuseClear tells the peer what was wrong with its preamble. One that sent
// nothing that looks like a preamble is told nothing.
func (in *Incoming) refuseClear(err error) {
	var network net.Error
	var v *errVersion
	switch {
	case errors.Is(err, errForeign), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network):
		return
	case errors.As(err, &v):
		err = fmt.Errorf("version %d of the link's protocol is spoken here, not %d", version, v.theirs)
	}
	_ = in.conn.SetWriteDeadline(time.Now().Add(lingerTimeout))
	if _, err := in.conn.Write(refusal(err)); err == nil {
		linger(in.conn)
	}
}
