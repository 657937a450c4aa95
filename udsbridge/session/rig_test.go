// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/pki"
	"github.com/container-offload/offload/udsbridge/session"
)

// patience is more than anything here takes, on a busy machine too.
const patience = 3 * time.Minute

// rig is a session over real sockets whose connections go through something that
// can be cut or made silent.
type rig struct {
	t          *testing.T
	l          *link.Listener
	acceptor   atomic.Pointer[session.Acceptor]
	dialer     link.Dialer
	near, far  *session.Session
	accepted   chan *session.Session
	forbidden  atomic.Bool // no new connections
	middle     net.Listener
	middleAddr link.Address

	mu    sync.Mutex
	pipes []*pipe
}

// pipe is a connection on its way through the middle.
type pipe struct {
	near, far *net.TCPConn
	silent    atomic.Bool // takes everything and passes nothing on
}

// begin makes a session. With TLS or without.
func begin(t *testing.T, secure bool, near, far session.Config) *rig {
	t.Helper()
	r := &rig{t: t, accepted: make(chan *session.Session, 16)}
	host, dpu := link.Security{Insecure: true}, link.Security{Insecure: true}
	if secure {
		host, dpu = certificates(t)
	}
	var err error
	r.l, err = link.Listen(t.Context(), link.Address{Scheme: link.SchemeTCP, Host: "127.0.0.1"}, host)
	require.NoError(t, err)
	t.Cleanup(func() { r.l.Close() })
	r.startMiddle()
	r.dialer = link.Dialer{Address: r.middleAddr, Security: dpu}
	far.Name = "DPU"
	r.acceptor.Store(session.NewAcceptor(far))
	go r.accept()
	near.Name = "HOST"
	r.near, err = session.Dial(t.Context(), r.dial, near)
	require.NoError(t, err)
	t.Cleanup(func() { r.near.Abort(errors.New("test is over")) })
	r.far = receive(t, r.accepted)
	t.Cleanup(func() { r.far.Abort(errors.New("test is over")) })
	return r
}

func certificates(t *testing.T) (host, dpu link.Security) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, pki.Init(dir, pki.Options{}))
	for role, s := range map[pki.Role]*link.Security{pki.RoleHost: &host, pki.RoleDPU: &dpu} {
		c, err := pki.LoadTLS(role, pki.In(dir, role))
		require.NoError(t, err)
		s.TLS = c
	}
	return host, dpu
}

// receive waits for something.
func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("waited too long")
		panic("not reached")
	}
}

func (r *rig) dial(ctx context.Context) (net.Conn, error) {
	if r.forbidden.Load() {
		return nil, errors.New("no way")
	}
	return r.dialer.Dial(ctx, link.Target{Kind: link.KindAgent})
}

func (r *rig) accept() {
	for {
		in, err := r.l.Accept()
		if err != nil {
			return
		}
		go func() {
			conn, err := in.Handshake(context.Background())
			if err != nil {
				return
			}
			if s, fresh, err := r.acceptor.Load().Handle(context.Background(), conn); err == nil && fresh {
				r.accepted <- s
			}
		}()
	}
}

// startMiddle starts what all connections go through.
func (r *rig) startMiddle() {
	var err error
	r.middle, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(r.t, err)
	r.t.Cleanup(func() { r.middle.Close(); r.cut() })
	r.middleAddr, err = link.ParseAddress("tcp://" + r.middle.Addr().String())
	require.NoError(r.t, err)
	go func() {
		for {
			near, err := r.middle.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", r.l.Addr().String()[len("tcp://"):])
			if err != nil {
				near.Close()
				continue
			}
			p := &pipe{near: near.(*net.TCPConn), far: far.(*net.TCPConn)}
			r.mu.Lock()
			r.pipes = append(r.pipes, p)
			r.mu.Unlock()
			go p.copy(p.near, p.far)
			go p.copy(p.far, p.near)
		}
	}()
}

func (p *pipe) copy(from, to *net.TCPConn) {
	defer from.Close()
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if p.silent.Load() {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// cut ends all connections, in one of several ways, and returns how many.
func (r *rig) cut() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, p := range r.pipes {
		switch (i + len(r.pipes)) % 3 {
		case 0: // with a reset, which takes away what is under way
			_ = p.near.SetLinger(0)
			_ = p.far.SetLinger(0)
		case 1:
			_ = p.far.SetLinger(0)
		}
		p.near.Close()
		p.far.Close()
	}
	n := len(r.pipes)
	r.pipes = nil
	return n
}

// hush makes all present connections silent without ending them.
func (r *rig) hush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pipes {
		p.silent.Store(true)
	}
}

// echo serves "echo" at the far end, which sends everything back.
func (r *rig) echo() {
	l := r.far.Listen("echo")
	go func() {
		for {
			st, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				if _, err := io.Copy(st, st); err == nil {
					_ = st.(*session.Stream).CloseWrite()
				}
			}()
		}
	}()
}

// pair opens a stream and returns both its ends.
func (r *rig) pair(service string) (near, far *session.Stream) {
	r.t.Helper()
	l := r.far.Listen(service)
	defer l.Close()
	near, err := r.near.Open(r.t.Context(), service, []byte("header of "+service))
	require.NoError(r.t, err)
	c, err := l.Accept()
	require.NoError(r.t, err)
	far = c.(*session.Stream)
	for _, st := range []*session.Stream{near, far} {
		require.NoError(r.t, st.SetDeadline(time.Now().Add(patience)))
	}
	return near, far
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited too long: " + what)
		}
	}
}

// each runs a test with TLS and without.
func each(t *testing.T, f func(t *testing.T, secure bool)) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS=%t", secure), func(t *testing.T) { f(t, secure) })
	}
}
