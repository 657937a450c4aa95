// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// turnRig is a session in which nobody but who waits takes the turn, unless something
// asks for it: nothing is put right by time.
type turnRig struct {
	t         *testing.T
	s         *Session
	near, far *Stream // of which the near one has the turn, in a read
	read      chan error
}

func newTurnRig(t *testing.T) *turnRig {
	t.Helper()
	r := &turnRig{t: t, read: make(chan error, 1)}
	r.near, r.far, r.s = streamPair(t)
	r.s.mu.Lock()
	r.s.turnPause = time.Hour
	r.s.mu.Unlock()
	go func() {
		_, err := r.near.Read(make([]byte, 1))
		if err == nil {
			_, err = r.near.Read(make([]byte, 1))
		}
		r.read <- err
	}()
	// The background reader has the turn in the beginning, or is about to, and passes it on.
	r.await(func() bool { return r.near.read.waits == 1 || r.s.conn.turn.leader == &r.near.read })
	_, err := r.far.Write([]byte("x"))
	require.NoError(t, err)
	r.await(func() bool { a := r.s.conn; return a.turn.parked && a.turn.leader == &r.near.read })
	return r
}

// await waits until the session is in a state.
func (r *turnRig) await(is func() bool) {
	r.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		r.s.mu.Lock()
		ok := is()
		r.s.mu.Unlock()
		if ok {
			return
		}
		require.True(r.t, time.Now().Before(end), "waited too long")
	}
}

// another opens one more stream.
func (r *turnRig) another() (near, far *Stream) {
	r.t.Helper()
	l := r.far.s.Listen("another")
	near, err := r.s.Open(r.t.Context(), "another", nil)
	require.NoError(r.t, err)
	c, err := l.Accept()
	require.NoError(r.t, err)
	return near, c.(*Stream)
}

func soon[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(2 * time.Minute):
		t.Fatal("waited too long")
		panic("not reached")
	}
}

// leavings are the ways in which somebody who has the turn comes to leave it, and
// what his Read then returns.
var leavings = map[string]struct {
	leave func(r *turnRig)
	err   error
}{
	"data":             {func(r *turnRig) { _, _ = r.far.Write([]byte("y")) }, nil},
	"end":              {func(r *turnRig) { _ = r.far.CloseWrite() }, io.EOF},
	"close":            {func(r *turnRig) { _ = r.near.Close() }, net.ErrClosed},
	"reset":            {func(r *turnRig) { r.near.Reset(errors.New("enough")) }, new(ResetError)},
	"deadline":         {func(r *turnRig) { _ = r.near.SetReadDeadline(time.Now().Add(time.Millisecond)) }, os.ErrDeadlineExceeded},
	"deadline at once": {func(r *turnRig) { _ = r.near.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
}

// Who has the turn leaves it when he has what he waits for, or gives up, and somebody
// else who waits takes it.
func TestTurnIsPassedOn(t *testing.T) {
	for name, l := range leavings {
		t.Run(name, func(t *testing.T) {
			r := newTurnRig(t)
			near, far := r.another()
			read := make(chan error, 1)
			go func() {
				_, err := near.Read(make([]byte, 1))
				read <- err
			}()
			r.await(func() bool { return near.read.waits == 1 })
			l.leave(r)
			r.expect(l.err)
			r.await(func() bool { a := r.s.conn; return a.turn.leader == &near.read })
			_, err := far.Write([]byte("z"))
			require.NoError(t, err)
			require.NoError(t, soon(t, read))
		})
	}
}

func (r *turnRig) expect(want error) {
	r.t.Helper()
	err := soon(r.t, r.read)
	var reset *ResetError
	if errors.As(want, &reset) {
		require.ErrorAs(r.t, err, &reset)
		return
	}
	require.ErrorIs(r.t, err, want)
}

// When nobody waits for a stream any more, the background reader takes the turn at
// once for those who can't: who waits to write, to be told, or for a session's end.
func TestTurnOfOthers(t *testing.T) {
	for name, wait := range map[string]func(r *turnRig, near, far *Stream){
		"writer": func(r *turnRig, near, far *Stream) {
			written := make(chan error, 1)
			go func() {
				_, err := near.Write(make([]byte, 3<<20))
				written <- err
			}()
			r.await(func() bool { return near.waiting })
			_, err := io.CopyN(io.Discard, far, 3<<20)
			require.NoError(r.t, err)
			require.NoError(r.t, soon(r.t, written))
		},
		"notification": func(r *turnRig, near, far *Stream) {
			told := make(chan bool, 1)
			require.False(r.t, near.AwaitReadable(func() { told <- true }))
			_, err := far.Write([]byte("z"))
			require.NoError(r.t, err)
			soon(r.t, told)
		},
		"close": func(r *turnRig, _, _ *Stream) { assert.NoError(r.t, r.s.Close()) },
	} {
		for leaving, l := range leavings {
			t.Run(name+" after "+leaving, func(t *testing.T) {
				r := newTurnRig(t)
				near, far := r.another()
				l.leave(r)
				r.expect(l.err)
				wait(r, near, far)
			})
		}
	}
}

// A connection that is lost ends the read of who has the turn, and so does the end of
// a session.
func TestTurnEnds(t *testing.T) {
	r := newTurnRig(t)
	r.s.Abort(errors.New("enough"))
	r.far.s.Abort(errors.New("enough"))
	require.ErrorIs(t, soon(t, r.read), ErrClosed)

	r = newTurnRig(t)
	r.s.mu.Lock()
	r.s.detachLocked(r.s.conn, errors.New("a test"))
	r.s.mu.Unlock()
	r.await(func() bool { return r.near.read.waits == 1 })
	r.s.Abort(errors.New("enough"))
	r.far.s.Abort(errors.New("enough"))
}

// Many read, with deadlines that end amid it, and what each gets is whole and in order.
func TestTurnUnderStress(t *testing.T) {
	_, far, s := streamPair(t)
	service := far.s.Listen("echo")
	go func() {
		for {
			c, err := service.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	failed := make(chan error, 8)
	for i := range cap(failed) {
		go func() { failed <- talk(t.Context(), s, rand.New(rand.NewPCG(uint64(i), 1))) }()
	}
	for range cap(failed) {
		require.NoError(t, soon(t, failed))
	}
}

// talk sends pieces on streams and reads them back with little patience.
func talk(ctx context.Context, s *Session, r *rand.Rand) error {
	for range 2 {
		st, err := s.Open(ctx, "echo", nil)
		if err != nil {
			return err
		}
		for n := range 30 {
			p := bytes.Repeat([]byte{byte(n)}, 1+r.IntN(1<<r.IntN(16)))
			if _, err := st.Write(p); err != nil {
				return err
			}
			back, err := patiently(st, len(p), r)
			if err != nil {
				return err
			}
			if !bytes.Equal(p, back) {
				return errors.New("what came back differs")
			}
		}
		st.Close()
	}
	return nil
}

// patiently reads n bytes, again and again.
func patiently(st *Stream, n int, r *rand.Rand) ([]byte, error) {
	b := make([]byte, n)
	for at := 0; at < n; {
		if r.IntN(8) == 0 {
			told := make(chan bool, 1)
			if !st.AwaitReadable(func() { told <- true }) {
				<-told
			}
		}
		_ = st.SetReadDeadline(time.Now().Add(time.Duration(r.IntN(500)) * time.Microsecond))
		k, err := st.Read(b[at:])
		at += k
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
	}
	return b, nil
}
