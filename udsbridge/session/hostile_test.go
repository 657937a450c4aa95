// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// raw is a peer that dials and then sends what it likes.
type raw struct {
	net.Conn
	victim *Session
	id     sessionID
}

// attack makes a session with an acceptor by hand.
func attack(t *testing.T, cfg Config) raw {
	t.Helper()
	acceptor := NewAcceptor(cfg)
	conn, victims := meet(t, acceptor)
	require.NoError(t, write(conn, hello{attempt: 1, terms: terms{window: 1 << 20, streams: 8}}.encode()))
	a, err := readAnswer(conn)
	require.NoError(t, err)
	v := <-victims
	require.NoError(t, v.err)
	require.True(t, v.fresh)
	t.Cleanup(func() { v.s.Abort(errors.New("test is over")) })
	return raw{conn, v.s, a.id}
}

type victim struct {
	s     *Session
	fresh bool
	err   error
}

// meet connects to an acceptor, whose decision comes later.
func meet(t *testing.T, a *Acceptor) (net.Conn, <-chan victim) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { near.Close() })
	require.NoError(t, near.SetDeadline(time.Now().Add(time.Minute)))
	far, err := l.Accept()
	require.NoError(t, err)
	done := make(chan victim, 1)
	go func() {
		s, fresh, err := a.Handle(context.Background(), far)
		done <- victim{s, fresh, err}
	}()
	return near, done
}

func write(w io.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}

// frameOf returns a frame as bytes, right or wrong.
func frameOf(t frameType, stream uint32, payload string) string {
	b := make([]byte, headerSize, headerSize+len(payload))
	binary.BigEndian.PutUint32(b, uint32(t)<<24|uint32(len(payload)))
	binary.BigEndian.PutUint32(b[4:], stream)
	return string(b) + payload
}

func u64(v uint64) string { return string(binary.BigEndian.AppendUint64(nil, v)) }
func u32(v uint32) string { return string(binary.BigEndian.AppendUint32(nil, v)) }

// TestHostileFrames expects the session to end for everything that the protocol
// does not allow.
func TestHostileFrames(t *testing.T) {
	open := frameOf(frameOpen, 1, "\x01x")
	for _, c := range []struct{ name, sent, err string }{
		{"unknown type", frameOf(9, 1, ""), "frame of unknown type 9"},
		{"too long", string([]byte{2, 1, 0, 1, 0, 0, 0, 1}), "DATA frame of 65537 bytes"},
		{"empty data", open + frameOf(frameData, 1, ""), "DATA frame of 0 bytes"},
		{"data of stream 0", frameOf(frameData, 0, "x"), "DATA frame of stream 0"},
		{"ping of a stream", frameOf(framePing, 1, u64(1)), "PING frame of stream 1"},
		{"never opened", frameOf(frameData, 1, "x"), "stream 1, which was never opened"},
		{"never opened here", frameOf(frameFin, 2, ""), "stream 2, which was never opened"},
		{"our number", frameOf(frameOpen, 2, "\x01x"), "stream 2 opened after 0"},
		{"twice", open + open, "stream 1 opened after 1"},
		{"backwards", frameOf(frameOpen, 5, "\x01x") + frameOf(frameOpen, 3, "\x01x"), "stream 3 opened after 5"},
		{"last number", frameOf(frameOpen, 1<<31+1, "\x01x"), "stream 2147483649 opened after 0"},
		{"no service", frameOf(frameOpen, 1, "\x00x"), "service name of 0 bytes"},
		{"service too long", frameOf(frameOpen, 1, "\x05x"), "service name of 5 bytes in 2"},
		{"service that is no text", frameOf(frameOpen, 1, "\x02\x1bx"), "service name"},
		{"header too long", frameOf(frameOpen, 1, "\x01x"+strings.Repeat("h", MaxHeader+1)), "OPEN frame"},
		{"too many streams", open + frameOf(frameOpen, 3, "\x01x") + frameOf(frameOpen, 5, "\x01x"), "more than 2 streams opened"},
		{"beyond the window", open + strings.Repeat(frameOf(frameData, 1, strings.Repeat("d", 4<<10)), 3), "whose window is 0"},
		{"large beyond the window", open + frameOf(frameData, 1, strings.Repeat("d", 9<<10)), "whose window is 8192"},
		{"after the end", open + frameOf(frameFin, 1, "") + frameOf(frameData, 1, "x"), "DATA frame of stream 1 after its end"},
		{"two ends", open + frameOf(frameFin, 1, "") + frameOf(frameFin, 1, ""), "second FIN"},
		{"two stops", open + frameOf(frameStop, 1, "") + frameOf(frameStop, 1, ""), "second STOP"},
		{"no credit", open + frameOf(frameWindow, 1, u32(0)), "WINDOW frame of 0 bytes"},
		{"too much credit", open + frameOf(frameWindow, 1, u32(1<<30)), "WINDOW frame of 1073741824 bytes"},
		{"too much credit at last", open + strings.Repeat(frameOf(frameWindow, 1, u32(1<<29)), 2), "WINDOW frame of 536870912 bytes"},
		{"acknowledgement of what was not sent", frameOf(frameAck, 0, u64(1)), "1 bytes acknowledged of 0 sent"},
		{"huge acknowledgement", frameOf(frameAck, 0, u64(1<<63)), "bytes acknowledged of 0 sent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := attack(t, Config{MaxStreams: 2, WindowBytes: 8 << 10})
			require.NoError(t, write(r, []byte(c.sent)))
			select {
			case <-r.victim.Done():
			case <-time.After(time.Minute):
				t.Fatal("the session goes on")
			}
			require.ErrorIs(t, r.victim.Err(), ErrProtocol)
			require.ErrorContains(t, r.victim.Err(), c.err)
			_, err := io.Copy(io.Discard, r)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection is still open")
		})
	}
}

// TestAcknowledgementWithinFrame acknowledges half a frame.
func TestAcknowledgementWithinFrame(t *testing.T) {
	r := attack(t, Config{})
	st, err := r.victim.Open(t.Context(), "service", nil)
	require.NoError(t, err)
	defer st.Close()
	_, err = io.ReadFull(r, make([]byte, headerSize+8))
	require.NoError(t, err)
	require.NoError(t, write(r, []byte(frameOf(frameAck, 0, u64(headerSize)))))
	<-r.victim.Done()
	require.ErrorContains(t, r.victim.Err(), "within a frame")
}

// TestNoAcknowledgements has a peer that makes the victim say much and never
// acknowledges: the victim must give it up before it keeps too much.
func TestNoAcknowledgements(t *testing.T) {
	r := attack(t, Config{ReplayBytes: minReplayBytes, WindowBytes: minWindowBytes, ListenGrace: time.Nanosecond})
	go func() { _, _ = io.Copy(io.Discard, r) }()
	for id := uint32(1); id < 1<<20; id += 2 {
		if err := write(r, []byte(frameOf(frameOpen, id, "\x01x"))); err != nil {
			break // refused streams are reset, and resets are kept
		}
	}
	select {
	case <-r.victim.Done():
	case <-time.After(60 * time.Second):
		t.Fatal("the session goes on")
	}
	require.ErrorContains(t, r.victim.Err(), "peer acknowledges nothing")
	require.LessOrEqual(t, r.victim.Stats().ReplayBytes, minReplayBytes+controlSlack+maxReason)
}

// TestPingFlood asks for more answers than it reads.
func TestPingFlood(t *testing.T) {
	r := attack(t, Config{DeadAfter: time.Minute})
	ping := bytes.Repeat([]byte(frameOf(framePing, 0, u64(1))), 4096)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	require.NoError(t, r.SetWriteDeadline(time.Now().Add(2*time.Second)))
	sent := 0
	for sent < 64<<20 && write(r, ping) == nil {
		sent += len(ping)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(4<<20), "after %d bytes of PING", sent)
}

// TestHostileData fills all windows of all streams and keeps them so: what the
// victim keeps is bounded, however many streams it allows.
func TestHostileData(t *testing.T) {
	const memory = 8 << 20
	for _, streams := range []uint32{64, 1024} {
		t.Run(fmt.Sprint(streams), func(t *testing.T) {
			r := attack(t, Config{MaxStreams: int(streams), MemoryBytes: memory})
			window := r.victim.core.cfg.firstWindow()
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			// The size that takes the most memory for its bytes.
			data := strings.Repeat("d", min(2049, window))
			for id := uint32(1); id < 2*streams; id += 2 {
				one := frameOf(frameOpen, id, "\x01x") + strings.Repeat(frameOf(frameData, id, data), window/len(data))
				require.NoError(t, write(r, []byte(one)))
			}
			eventuallyIn(t, func() bool {
				return r.victim.Stats().ReceivedBytes > uint64(streams)*uint64(window-window%len(data))
			})
			runtime.GC()
			runtime.ReadMemStats(&after)
			require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(2*memory))
			require.NoError(t, r.victim.Err())
		})
	}
}

// TestHostileHeaders opens streams with headers as large as they may be.
func TestHostileHeaders(t *testing.T) {
	r := attack(t, Config{})
	header := strings.Repeat("h", MaxHeader)
	for id := uint32(1); id <= 2*(maxHeaders/MaxHeader); id += 2 {
		require.NoError(t, write(r, []byte(frameOf(frameOpen, id, "\x01x"+header))))
	}
	eventuallyIn(t, func() bool { return r.victim.Stats().Streams == maxHeaders/MaxHeader })
	require.NoError(t, r.victim.Err())
	// One that has ended makes room for another.
	last := uint32(2 * (maxHeaders / MaxHeader))
	require.NoError(t, write(r, []byte(frameOf(frameReset, 1, "")+frameOf(frameOpen, last+1, "\x01x"+header))))
	require.NoError(t, write(r, []byte(frameOf(frameOpen, last+3, "\x01xh"))))
	select {
	case <-r.victim.Done():
	case <-time.After(time.Minute):
		t.Fatal("the session goes on")
	}
	require.ErrorContains(t, r.victim.Err(), "whose headers are more than")
}

func eventuallyIn(t *testing.T, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited too long")
		}
	}
}

// TestHostileHello sends beginnings that are none.
func TestHostileHello(t *testing.T) {
	good := hello{attempt: 1, terms: terms{window: 1, streams: 1}}
	change := func(at int, b byte) string {
		e := good.encode()
		e[at] = b
		return string(e)
	}
	unknown := good
	unknown.id[3] = 7
	first := good
	first.attempt = 0
	for _, c := range []struct {
		name, sent, err string
		code            answerCode // 0: no answer
		reason          string
	}{
		{"other protocol", strings.Repeat("GET / HTTP/1.1\r\n", 3), `hello begins with "GET "`, 0, ""},
		{"later version", change(5, 2), "peer speaks version 2", codeVersion, "it speaks version 1 of the session protocol, not 2"},
		{"earlier version", change(5, 0), "peer speaks version 0", codeVersion, "it speaks version 1 of the session protocol, not 0"},
		{"reserved", change(7, 1), "reserved field", 0, ""},
		{"no window", string(hello{attempt: 1}.encode()), "window of 0 bytes", 0, ""},
		{"unknown session", string(unknown.encode()), "it does not know session 00000007", codeRefused, "it does not know session 00000007: it was restarted since, or has given the session up"},
		{"no attempt", string(first.encode()), "a later connection", codeStale, "a later connection of the session is there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, victims := meet(t, NewAcceptor(Config{}))
			require.NoError(t, write(conn, []byte(c.sent)))
			v := <-victims
			require.ErrorContains(t, v.err, c.err)
			if c.code == 0 {
				_, err := io.ReadFull(conn, make([]byte, 1))
				require.Error(t, err)
				return
			}
			_, err := readAnswer(conn)
			var refused *RefusedError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, c.reason, refused.Reason)
			require.Equal(t, c.code == codeStale, refused.again)
		})
	}
}

// TestHostileResume resumes a session with claims that can't be.
func TestHostileResume(t *testing.T) {
	t.Run("stale", func(t *testing.T) {
		acceptor := NewAcceptor(Config{})
		conn, victims := meet(t, acceptor)
		h := hello{attempt: 5, terms: terms{window: 1, streams: 1}}
		require.NoError(t, write(conn, h.encode()))
		a, err := readAnswer(conn)
		require.NoError(t, err)
		defer (<-victims).s.Abort(errors.New("test is over"))
		h.id = a.id
		late, victims := meet(t, acceptor)
		require.NoError(t, write(late, h.encode()))
		require.ErrorContains(t, (<-victims).err, "a later connection of the session is there")
	})
	t.Run("impossible", func(t *testing.T) {
		acceptor := NewAcceptor(Config{})
		conn, victims := meet(t, acceptor)
		h := hello{attempt: 1, terms: terms{window: 1, streams: 1}}
		require.NoError(t, write(conn, h.encode()))
		a, err := readAnswer(conn)
		require.NoError(t, err)
		v := <-victims
		h = hello{id: a.id, attempt: 2, terms: terms{window: 1, streams: 1, received: 99}}
		again, victims := meet(t, acceptor)
		require.NoError(t, write(again, h.encode()))
		require.ErrorIs(t, (<-victims).err, ErrProtocol)
		require.ErrorContains(t, v.s.Err(), "99 bytes received, of which 0 were acknowledged and 0 sent")
	})
}

// TestHostileAnswer has the dialling side meet an acceptor that is none.
func TestHostileAnswer(t *testing.T) {
	good := answer{id: sessionID{1}, terms: terms{window: 1, streams: 1}}
	change := func(at int, b byte) string {
		e := good.encode()
		e[at] = b
		return string(e)
	}
	for _, c := range []struct{ name, sent, err string }{
		{"other protocol", strings.Repeat("HTTP/1.1 400 Bad Request\r\n", 3), "answer begins with"},
		{"version", change(5, 2), "peer speaks version 2 of the session protocol, this side version 1"},
		{"reserved", change(24, 1), "reserved fields"},
		{"no id", string(answer{terms: good.terms}.encode()), "without a session id"},
		{"no window", string(answer{id: good.id}.encode()), "window of 0 bytes"},
		{"long reason", change(48, 0xff), "with a reason of"},
		{"cut", string(good.encode()[:20]), "unexpected EOF"},
		{"nothing", "", "without an answer"},
		{"refusal", string(answer{code: codeRefused, reason: "no\nway"}.encode()), "session refused by peer: no way"},
	} {
		t.Run(c.name, func(t *testing.T) {
			near, far := net.Pipe()
			go func() {
				_, _ = io.ReadFull(far, make([]byte, helloSize))
				_ = write(far, []byte(c.sent))
				far.Close()
			}()
			_, err := Dial(t.Context(), func(context.Context) (net.Conn, error) { return near, nil }, Config{})
			require.ErrorContains(t, err, c.err)
		})
	}
}

// FuzzFrames feeds a core that has a stream of each kind with anything.
func FuzzFrames(f *testing.F) {
	open := frameOf(frameOpen, 5, "\x01x")
	f.Add([]byte(open+frameOf(frameData, 5, "hello")+frameOf(frameFin, 5, "")), uint8(3))
	f.Add([]byte(frameOf(frameWindow, 2, u32(100))+frameOf(frameStop, 2, "")+frameOf(frameReset, 1, "why")), uint8(200))
	f.Add([]byte(frameOf(frameData, 1, strings.Repeat("d", 5000))+frameOf(framePing, 0, u64(1))+frameOf(frameBye, 0, "bye")), uint8(255))
	f.Add([]byte(frameOf(frameAck, 0, u64(headerSize+2))), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		c := newCore(coreConfig{replayBytes: minReplayBytes, windowBytes: 8 << 10, memoryBytes: 1 << 20, maxStreams: 4})
		if err := c.connect(terms{window: 1 << 10, streams: 4}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.open("x", nil); err != nil {
			t.Fatal(err)
		}
		_, _ = c.batch(nil, nil, 1<<20)
		c.sent()
		w := &wire{queue: []byte(frameOf(frameOpen, 1, "\x01y") + string(b))}
		a := attach(w)
		defer a.frames.close()
		for len(w.queue) > w.through {
			w.through = min(w.through+int(piece)+1, len(w.queue))
			if err := feed(c, a); err != nil {
				if !errors.Is(err, ErrProtocol) {
					t.Fatal(err)
				}
				return
			}
			for _, fl := range c.flows {
				if fl.queue.size > c.cfg.windowBytes || fl.credit > maxCredit || fl.credit < 0 {
					t.Fatalf("stream %d: %d bytes wait, credit %d", fl.id, fl.queue.size, fl.credit)
				}
			}
			if c.remoteFlows > 4 || c.localFlows > 1 || c.log.kept() > 2*controlSlack || len(c.ctl) > 2<<10 {
				t.Fatalf("%d streams, %d bytes kept, %d to say", c.remoteFlows, c.log.kept(), len(c.ctl))
			}
		}
	})
}

// feed takes all that has arrived.
func feed(c *core, a *attachment) error {
	for {
		n, err := a.frames.read()
		if err != nil {
			return nil
		}
		c.arrived(n)
		for {
			f, ok, err := a.frames.next()
			if err != nil || !ok {
				if err != nil {
					return err
				}
				break
			}
			if err := c.receive(f.frameHeader, f.payload, f.seg); err != nil {
				return err
			}
		}
		c.events = c.events[:0]
	}
}

func FuzzHello(f *testing.F) {
	f.Add(hello{attempt: 1, terms: terms{window: 1, streams: 1}}.encode())
	f.Add(hello{id: sessionID{1, 2}, attempt: 1 << 31, terms: terms{window: maxCredit, received: 1 << 63, resume: time.Hour}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bytes.NewReader(b))
		if err == nil && !bytes.Equal(h.encode(), b[:helloSize]) {
			t.Fatalf("%x is read as %+v", b, h)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add(answer{id: sessionID{1}, terms: terms{window: 1, streams: 1}}.encode())
	f.Add(answer{code: codeRefused, reason: "full"}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := readAnswer(bytes.NewReader(b))
		var refused *RefusedError
		switch {
		case err == nil:
			if got := (answer{id: a.id, terms: a.terms}).encode(); !bytes.Equal(got[:48], b[:48]) {
				t.Fatalf("%x is read as %+v", b, a)
			}
		case errors.As(err, &refused):
			if refused.Reason != cutReason(refused.Reason) {
				t.Fatalf("reason %q", refused.Reason)
			}
		}
	})
}
