// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/udsbridge/session"
)

// TestCuts cuts the connection hundreds of times while many streams are busy.
func TestCuts(t *testing.T) {
	each(t, func(t *testing.T, secure bool) {
		const cuts, streams = 150, 24
		r := begin(t, secure, session.Config{}, session.Config{})
		r.echo()
		var done atomic.Int64
		finished := make(chan error, streams)
		for i := range streams {
			go func() { finished <- busy(t.Context(), r.near, uint64(i), func() bool { return done.Load() >= cuts }) }()
		}
		// On a machine that has much else to do, as many as there is time for.
		end := time.Now().Add(20 * time.Second)
		for n := 1; n < 16 || done.Load() < cuts && time.Now().Before(end); n++ {
			time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
			done.Add(int64(r.cut()))
			if n%4 == 0 { // many a connection is cut before it is one
				before := r.near.Stats().Reconnects
				eventually(t, "the link is back", func() bool { return r.near.Stats().Reconnects > before || r.near.Stats().Connected })
			}
		}
		done.Store(cuts)
		for range streams {
			require.NoError(t, receive(t, finished))
		}
		s := r.near.Stats()
		require.GreaterOrEqual(t, s.Reconnects, uint64(3))
		require.Zero(t, s.Streams)
		eventually(t, "all is acknowledged", func() bool {
			return r.near.Stats().ReplayBytes == 0 && r.far.Stats().ReplayBytes == 0
		})
		t.Logf("%+v", s)
	})
}

// busy writes pieces of random sizes until enough, then compares what came back.
func busy(ctx context.Context, s *session.Session, seed uint64, enough func() bool) error {
	var st *session.Stream
	for st == nil {
		var err error
		if st, err = s.Open(ctx, "echo", nil); err != nil && !errors.Is(err, session.ErrDisconnected) {
			return err
		}
	}
	defer st.Close()
	if err := st.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	sent, written := sha256.New(), make(chan error, 1)
	go func() { written <- pour(st, sent, rand.New(rand.NewPCG(seed, 2)), enough) }()
	got := sha256.New()
	n, err := io.Copy(got, st)
	if err := errors.Join(err, <-written); err != nil {
		return err
	}
	if !bytes.Equal(got.Sum(nil), sent.Sum(nil)) || n == 0 {
		return errors.New("what came back differs")
	}
	return nil
}

func pour(st *session.Stream, sum hash.Hash, r *rand.Rand, enough func() bool) error {
	b := make([]byte, 200<<10)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	for first := true; first || !enough(); first = false {
		at := r.IntN(1000)
		p := b[at : at+1+r.IntN(1<<(1+r.IntN(17)))]
		sum.Write(p)
		if _, err := st.Write(p); err != nil {
			return err
		}
	}
	return st.CloseWrite()
}

// TestSilence makes the connection fall silent: both ends must notice by
// themselves, and go on with another.
func TestSilence(t *testing.T) {
	each(t, func(t *testing.T, secure bool) {
		c := session.Config{KeepaliveInterval: 50 * time.Millisecond, DeadAfter: 400 * time.Millisecond}
		r := begin(t, secure, c, c)
		near, far := r.pair("x")
		r.hush()
		_, err := near.Write([]byte("into the void"))
		require.NoError(t, err)
		b := make([]byte, 13)
		_, err = io.ReadFull(far, b)
		require.NoError(t, err)
		require.Equal(t, "into the void", string(b))
		// The end that notices first hangs up, which the other may notice then.
		require.Contains(t, r.near.Stats().LastError+r.far.Stats().LastError, "no sign of life")
	})
	t.Run("not without reason", func(t *testing.T) {
		c := session.Config{KeepaliveInterval: 20 * time.Millisecond, DeadAfter: 10 * time.Second}
		r := begin(t, false, c, c)
		before := r.far.Stats().ReceivedBytes
		eventually(t, "signs of life", func() bool { return r.far.Stats().ReceivedBytes > before+5*16 })
		require.Zero(t, r.near.Stats().Reconnects)
	})
}

// TestLinkLost lets the time pass in which a connection may come back.
func TestLinkLost(t *testing.T) {
	r := begin(t, false, session.Config{ResumeTimeout: 300 * time.Millisecond, OpenTimeout: 20 * time.Millisecond}, session.Config{ResumeTimeout: time.Hour})
	near, far := r.pair("x")
	_, err := far.Write([]byte("last words"))
	require.NoError(t, err)
	eventually(t, "they have arrived", func() bool { return r.far.Stats().ReplayBytes == 0 })
	r.forbidden.Store(true)
	r.cut()
	eventually(t, "the loss is noticed", func() bool { return !r.near.Stats().Connected })
	_, err = r.near.Open(t.Context(), "y", nil)
	require.ErrorIs(t, err, session.ErrDisconnected)
	for _, s := range []*session.Session{r.near, r.far} { // the shorter timeout holds for both
		receive(t, s.Done())
		require.ErrorIs(t, s.Err(), session.ErrLinkLost)
	}
	b, err := io.ReadAll(near)
	require.Equal(t, "last words", string(b))
	require.ErrorIs(t, err, session.ErrLinkLost)
	require.ErrorContains(t, err, "HOST did not come back within 300ms")
	_, err = near.Write([]byte("x"))
	require.ErrorIs(t, err, session.ErrLinkLost)
	_, err = far.Read(b)
	require.ErrorIs(t, err, session.ErrLinkLost)
	_, err = r.near.Open(t.Context(), "y", nil)
	require.ErrorIs(t, err, session.ErrLinkLost)
	_, err = r.far.Listen("z").Accept()
	require.ErrorIs(t, err, net.ErrClosed)
}

// TestRestart has the accepting end forget everything.
func TestRestart(t *testing.T) {
	r := begin(t, false, session.Config{}, session.Config{})
	near, _ := r.pair("x")
	r.acceptor.Store(session.NewAcceptor(session.Config{}))
	r.cut()
	receive(t, r.near.Done())
	_, err := near.Read(make([]byte, 1))
	require.ErrorIs(t, err, session.ErrLinkLost)
	var refused *session.RefusedError
	require.ErrorAs(t, err, &refused)
	require.Contains(t, refused.Reason, "it does not know session")
}

// TestSlowReader reads one of several streams not at all.
func TestSlowReader(t *testing.T) {
	each(t, func(t *testing.T, secure bool) {
		const window = 256 << 10
		c := session.Config{WindowBytes: window, ReplayBytes: 1 << 20}
		r := begin(t, secure, c, c)
		r.echo()
		slow, unread := r.pair("slow")
		var written atomic.Int64
		go func() {
			b := make([]byte, 4<<10)
			for {
				n, err := slow.Write(b)
				written.Add(int64(n))
				if err != nil {
					return
				}
			}
		}()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		var others sync.WaitGroup
		var moved atomic.Int64
		for i := range 4 {
			others.Go(func() {
				n := 0
				if err := busy(t.Context(), r.near, uint64(i), func() bool { n++; moved.Add(1); return n > 400 }); err != nil {
					t.Error(err)
				}
			})
		}
		others.Wait()
		require.Greater(t, written.Load(), int64(0))
		require.LessOrEqual(t, written.Load(), int64(window), "its writer ran ahead of its window")
		require.LessOrEqual(t, r.near.Stats().ReplayBytes, 1<<20)
		blocked := written.Load()
		got, err := io.CopyN(io.Discard, unread, blocked+1<<20)
		require.NoError(t, err, "after %d bytes", got)
	})
}

func TestHalfClose(t *testing.T) {
	each(t, func(t *testing.T, secure bool) {
		r := begin(t, secure, session.Config{}, session.Config{})
		near, far := r.pair("x")
		require.Equal(t, "x", far.Service())
		require.Equal(t, "header of x", string(far.Header()))
		_, err := near.Write([]byte("question"))
		require.NoError(t, err)
		require.NoError(t, near.CloseWrite())
		_, err = near.Write([]byte("more"))
		require.ErrorIs(t, err, net.ErrClosed)
		b, err := io.ReadAll(far)
		require.NoError(t, err)
		require.Equal(t, "question", string(b))
		_, err = far.Write([]byte("answer"))
		require.NoError(t, err)
		require.NoError(t, far.Close())
		b, err = io.ReadAll(near)
		require.NoError(t, err)
		require.Equal(t, "answer", string(b))
		eventually(t, "the stream is gone", func() bool { return r.near.Stats().Streams == 0 && r.far.Stats().Streams == 0 })
	})
}

// TestClose closes the reading end: its writer must learn that.
func TestClose(t *testing.T) {
	r := begin(t, false, session.Config{}, session.Config{})
	near, far := r.pair("x")
	_, err := near.Write([]byte("unread"))
	require.NoError(t, err)
	require.NoError(t, far.Close())
	require.NoError(t, far.Close())
	eventually(t, "the writer learns it", func() bool {
		_, err = near.Write([]byte("x"))
		return err != nil
	})
	require.ErrorIs(t, err, syscall.EPIPE)
	_, err = near.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	_, err = far.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorIs(t, far.SetDeadline(time.Time{}), net.ErrClosed)
}

func TestReset(t *testing.T) {
	r := begin(t, false, session.Config{}, session.Config{})
	near, far := r.pair("x")
	_, err := far.Write([]byte("never read"))
	require.NoError(t, err)
	far.Reset(errors.New("disk \x1b[31mfull\n" + strings.Repeat("x", 5000)))
	eventually(t, "it arrives", func() bool { return r.near.Stats().Streams == 0 })
	for st, remote := range map[*session.Stream]bool{near: true, far: false} {
		_, rerr := st.Read(make([]byte, 100))
		_, werr := st.Write([]byte("x"))
		for _, err := range []error{rerr, werr} {
			var reset *session.ResetError
			require.ErrorAs(t, err, &reset)
			require.Equal(t, "x", reset.Service)
			require.Equal(t, remote, reset.Remote)
			require.True(t, strings.HasPrefix(reset.Reason, "disk  [31mfull xx"), reset.Reason)
			require.LessOrEqual(t, len(reset.Reason), 1024)
		}
	}
}

func TestServices(t *testing.T) {
	r := begin(t, false, session.Config{}, session.Config{})
	t.Run("waits for its listener", func(t *testing.T) {
		st, err := r.near.Open(t.Context(), "late", nil)
		require.NoError(t, err)
		_, err = st.Write([]byte("early"))
		require.NoError(t, err)
		eventually(t, "the stream is there", func() bool { return r.far.Stats().Streams == 1 })
		c, err := r.far.Listen("late").Accept()
		require.NoError(t, err)
		b := make([]byte, 5)
		_, err = io.ReadFull(c, b)
		require.NoError(t, err)
		require.Equal(t, "early", string(b))
		st.Reset(nil)
	})
	t.Run("replaced listener", func(t *testing.T) {
		old := r.far.Listen("twice")
		r.far.Listen("twice")
		_, err := old.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
	})
	t.Run("closed listener", func(t *testing.T) {
		l := r.far.Listen("closed")
		st, err := r.near.Open(t.Context(), "closed", nil)
		require.NoError(t, err)
		eventually(t, "the stream is there", func() bool { return r.far.Stats().Streams > 0 })
		require.NoError(t, l.Close())
		_, err = st.Read(make([]byte, 1))
		require.ErrorAs(t, err, new(*session.ResetError))
	})
	t.Run("not offered", func(t *testing.T) {
		waiting, err := r.near.Open(t.Context(), "none", nil)
		require.NoError(t, err)
		r.far.Ready()
		later, err := r.near.Open(t.Context(), "none", nil)
		require.NoError(t, err)
		for _, st := range []*session.Stream{waiting, later} {
			_, err = st.Read(make([]byte, 1))
			require.ErrorContains(t, err, `stream "none" reset by peer: service "none" is not offered`)
		}
	})
	t.Run("bad names", func(t *testing.T) {
		for _, name := range []string{"", strings.Repeat("x", 256), "a\nb", "\xff"} {
			_, err := r.near.Open(t.Context(), name, nil)
			require.ErrorContains(t, err, "not a name", "%q", name)
		}
		_, err := r.near.Open(t.Context(), "x", make([]byte, session.MaxHeader+1))
		require.ErrorContains(t, err, "header of 16385 bytes")
	})
}

func TestTooManyStreams(t *testing.T) {
	r := begin(t, false, session.Config{}, session.Config{MaxStreams: 3})
	r.echo()
	var open []*session.Stream
	for range 3 {
		st, err := r.near.Open(t.Context(), "echo", nil)
		require.NoError(t, err)
		open = append(open, st)
	}
	_, err := r.near.Open(t.Context(), "echo", nil)
	require.ErrorIs(t, err, session.ErrTooManyStreams)
	open[0].Close()
	eventually(t, "there is room again", func() bool {
		_, err = r.near.Open(t.Context(), "echo", nil)
		return err == nil
	})
	// What the other end may open is not touched.
	_, err = r.far.Open(t.Context(), "echo", nil)
	require.NoError(t, err)
}

// TestTooMuchHeader opens streams until their headers are more than the peer keeps.
func TestTooMuchHeader(t *testing.T) {
	r := begin(t, false, session.Config{}, session.Config{})
	header := make([]byte, session.MaxHeader)
	var last *session.Stream
	for range 8 << 20 / session.MaxHeader {
		st, err := r.near.Open(t.Context(), "held", header)
		require.NoError(t, err)
		last = st
	}
	_, err := r.near.Open(t.Context(), "held", header)
	require.ErrorIs(t, err, session.ErrTooManyStreams)
	last.Reset(nil)
	_, err = r.near.Open(t.Context(), "held", header)
	require.NoError(t, err)
	require.NoError(t, r.far.Err())
}

// TestSmallFirstWindow moves much over streams that begin with little credit.
func TestSmallFirstWindow(t *testing.T) {
	c := session.Config{MemoryBytes: 64 << 10, MaxStreams: 16}
	r := begin(t, false, c, c)
	r.echo()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			n := 0
			if err := busy(t.Context(), r.near, uint64(i), func() bool { n++; return n > 100 }); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestDeadlines(t *testing.T) {
	r := begin(t, false, session.Config{WindowBytes: 4 << 10}, session.Config{WindowBytes: 4 << 10})
	near, far := r.pair("x")
	require.NoError(t, near.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, err := near.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, near.SetWriteDeadline(time.Now().Add(20*time.Millisecond)))
	n, err := near.Write(make([]byte, 1<<20))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	var timeout net.Error
	require.True(t, errors.As(err, &timeout) && timeout.Timeout())
	require.NoError(t, near.SetDeadline(time.Now().Add(patience)))
	_, err = io.CopyN(io.Discard, far, int64(n))
	require.NoError(t, err)
	_, err = near.Write([]byte("again"))
	require.NoError(t, err)
	_, err = io.ReadFull(far, make([]byte, 5))
	require.NoError(t, err)
}

// TestWritersThatGaveUp has many writers wait for room that only the link gives
// back, and all but one give up.
func TestWritersThatGaveUp(t *testing.T) {
	r := begin(t, false, session.Config{ReplayBytes: 128 << 10}, session.Config{MaxStreams: 64})
	type both struct{ near, far *session.Stream }
	var streams []both
	for range 40 {
		near, far := r.pair("x")
		streams = append(streams, both{near, far})
	}
	r.forbidden.Store(true)
	r.cut()
	eventually(t, "the loss is noticed", func() bool { return !r.near.Stats().Connected })
	fill := streams[0].near
	require.NoError(t, fill.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
	for _, s := range streams { // fills the log first
		require.NoError(t, s.near.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
		_, err := s.near.Write(make([]byte, 60<<10))
		if err != nil {
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		}
	}
	last := streams[len(streams)-1]
	require.NoError(t, last.near.SetWriteDeadline(time.Now().Add(patience)))
	written := make(chan error, 1)
	go func() {
		_, err := last.near.Write(bytes.Repeat([]byte("z"), 40<<10))
		written <- err
	}()
	time.Sleep(20 * time.Millisecond) // it waits behind the others
	r.forbidden.Store(false)
	require.NoError(t, receive(t, written))
}

func TestCloseSession(t *testing.T) {
	each(t, func(t *testing.T, secure bool) {
		r := begin(t, secure, session.Config{}, session.Config{})
		near, far := r.pair("x")
		data := bytes.Repeat([]byte("to be delivered "), 10000)
		read := make(chan []byte, 1)
		go func() {
			b, _ := io.ReadAll(far)
			read <- b
		}()
		_, err := near.Write(data)
		require.NoError(t, err)
		require.NoError(t, r.near.Close())
		receive(t, r.far.Done())
		for _, s := range []*session.Session{r.near, r.far} {
			require.ErrorIs(t, s.Err(), session.ErrClosed)
		}
		require.Equal(t, data, receive(t, read))
		_, err = r.near.Open(t.Context(), "y", nil)
		require.ErrorIs(t, err, session.ErrClosed)
	})
	t.Run("without a connection", func(t *testing.T) {
		r := begin(t, false, session.Config{}, session.Config{})
		near, _ := r.pair("x")
		eventually(t, "all is acknowledged", func() bool { return r.near.Stats().ReplayBytes == 0 })
		r.forbidden.Store(true)
		r.cut()
		_, err := near.Write([]byte("lost"))
		require.NoError(t, err)
		require.ErrorContains(t, r.near.Close(), "bytes were not delivered within 5s")
	})
}
