// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// streamPair returns both ends of a stream.
func streamPair(t *testing.T) (near, far *Stream, s *Session) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "l"))
	require.NoError(t, err)
	defer l.Close()
	acceptor := NewAcceptor(Config{})
	accepted := make(chan *Session, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			if s, _, err := acceptor.Handle(context.Background(), c); err == nil {
				accepted <- s
			}
		}
	}()
	s, err = Dial(t.Context(), func(context.Context) (net.Conn, error) { return net.Dial("unix", l.Addr().String()) }, Config{})
	require.NoError(t, err)
	var peer *Session
	select {
	case peer = <-accepted:
	case <-time.After(20 * time.Second):
		t.Fatal("no session was accepted")
	}
	t.Cleanup(func() {
		s.Close()
		peer.Close()
	})
	near, err = s.Open(t.Context(), "x", nil)
	require.NoError(t, err)
	c, err := peer.Listen("x").Accept()
	require.NoError(t, err)
	return near, c.(*Stream), s
}

// Whoever waits is called once for bytes, the end, a reset, a close, and the end of
// the session.
func TestAwaitReadable(t *testing.T) {
	for name, happens := range map[string]func(near, far *Stream, s *Session){
		"bytes":      func(_, far *Stream, _ *Session) { _, _ = far.Write([]byte("x")) },
		"end":        func(_, far *Stream, _ *Session) { _ = far.CloseWrite() },
		"reset":      func(_, far *Stream, _ *Session) { far.Reset(nil) },
		"close":      func(near, _ *Stream, _ *Session) { near.Close() },
		"reset here": func(near, _ *Stream, _ *Session) { near.Reset(nil) },
		"session":    func(_, _ *Stream, s *Session) { s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			near, far, s := streamPair(t)
			called := make(chan bool, 2)
			require.False(t, near.AwaitReadable(func() { called <- true }))
			select {
			case <-called:
				t.Fatal("called although there is nothing")
			case <-time.After(10 * time.Millisecond):
			}
			happens(near, far, s)
			select {
			case <-called:
			case <-time.After(20 * time.Second):
				t.Fatal("not called")
			}
			assert.True(t, near.AwaitReadable(func() { called <- true }))
			// Nothing more comes of it.
			_, _ = far.Write([]byte("y"))
			select {
			case <-called:
				t.Fatal("called again")
			case <-time.After(10 * time.Millisecond):
			}
		})
	}
}
