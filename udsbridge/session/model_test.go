// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// The model: two cores, joined by connections that are byte queues in memory, and
// a scheduler that decides what happens next. Time does not exist in it.

var errNothing = errors.New("nothing has arrived")

// wire is one direction of a connection. Bytes wait in it until they are let
// through, and what was not is lost with the connection.
type wire struct {
	net.Conn // never used
	queue    []byte
	through  int // how many bytes of queue have arrived
}

func (w *wire) Read(b []byte) (int, error) {
	n := min(len(b), w.through)
	if n == 0 {
		return 0, errNothing
	}
	copy(b, w.queue[:n])
	w.queue = w.queue[n:]
	w.through -= n
	return n, nil
}

// modelEnd is one end.
type modelEnd struct {
	core *core
	in   *wire // nil without a connection
	out  *wire
	at   *attachment
	// writing is the write in progress, which may be of a connection that is lost.
	writing *modelWrite

	streams map[uint32]*modelStream
}

// modelWrite is a batch that is being written: what is left of it is still in the
// memory of the log.
type modelWrite struct {
	to   *wire
	left [][]byte
}

// proceed writes up to n bytes.
func (w *modelWrite) proceed(n int) {
	for ; n > 0 && len(w.left) > 0; w.left = w.left[1:] {
		b := w.left[0]
		if len(b) > n {
			w.to.queue = append(w.to.queue, b[:n]...)
			w.left[0] = b[n:]
			return
		}
		w.to.queue = append(w.to.queue, b...)
		n -= len(b)
	}
}

// modelStream is what the end's application has done with a stream.
type modelStream struct {
	flow     *flow
	written  int
	read     int
	finished bool
	reset    bool
}

type model struct {
	a, b *modelEnd // a dials
	// hello is what a has said on a connection that b has not taken yet.
	hello *terms
	// fault is the first thing that went wrong.
	fault error
}

func newModel(c coreConfig) *model {
	m := &model{}
	for _, e := range []**modelEnd{&m.a, &m.b} {
		c.dialer = e == &m.a
		*e = &modelEnd{core: newCore(c), streams: make(map[uint32]*modelStream)}
	}
	m.reconnect()
	return m
}

func (m *model) failf(format string, args ...any) {
	if m.fault == nil {
		m.fault = fmt.Errorf(format, args...)
	}
}

func (m *model) peer(e *modelEnd) *modelEnd {
	if e == m.a {
		return m.b
	}
	return m.a
}

func (e *modelEnd) drop() {
	e.core.disconnect()
	if e.at != nil {
		e.at.frames.close()
	}
	e.in, e.out, e.at = nil, nil, nil
}

func (e *modelEnd) use(in, out *wire) {
	e.in, e.out, e.at = in, out, attach(in)
}

// lose has a notice that the connection is gone, and dial again. b goes on with
// the old one until it takes the new one.
func (m *model) lose() {
	m.a.drop()
	t := m.a.core.terms()
	m.hello = &t
}

// take has b take the connection that a has dialled. Whether its answer arrives
// is for the caller to say: if not, a dials again.
func (m *model) take(answered bool) {
	if m.hello == nil {
		return
	}
	m.b.drop()
	answer := m.b.core.terms()
	ab, ba := &wire{}, &wire{}
	if err := m.b.core.connect(*m.hello); err != nil {
		m.failf("b refuses the hello: %w", err)
		return
	}
	m.b.use(ab, ba)
	if !answered {
		m.lose()
		return
	}
	m.hello = nil
	if err := m.a.core.connect(answer); err != nil {
		m.failf("a refuses the answer: %w", err)
		return
	}
	m.a.use(ba, ab)
}

func (m *model) reconnect() {
	m.lose()
	m.take(true)
}

// transmit writes up to limit bytes of what is pending, or goes on with the write
// that has begun.
func (m *model) transmit(e *modelEnd, limit int) bool {
	return m.finish(e) || m.begin(e, limit) && m.finish(e)
}

// begin begins to write up to limit bytes of what is pending. Nobody else writes
// until finish.
func (m *model) begin(e *modelEnd, limit int) bool {
	if e.writing != nil || e.out == nil || !e.core.pending() {
		return false
	}
	ctl, bufs := e.core.batch(nil, nil, limit)
	e.writing = &modelWrite{to: e.out, left: append([][]byte{ctl}, bufs...)}
	return true
}

// finish ends the write that has begun.
func (m *model) finish(e *modelEnd) bool {
	if e.writing == nil {
		return false
	}
	e.writing.proceed(1 << 30)
	e.writing = nil
	e.core.sent()
	return true
}

// arrive lets n more bytes through to e, which takes them.
func (m *model) arrive(e *modelEnd, n int) bool {
	if e.in == nil || len(e.in.queue) == 0 {
		return false
	}
	e.in.through = min(e.in.through+n, len(e.in.queue))
	for {
		n, err := e.at.frames.read()
		if err != nil {
			if !errors.Is(err, errNothing) {
				m.failf("read: %w", err)
			}
			return true
		}
		e.core.arrived(n)
		for {
			f, ok, err := e.at.frames.next()
			if err == nil && !ok {
				break
			}
			if err == nil {
				err = e.core.receive(f.frameHeader, f.payload, f.seg)
			}
			if err != nil {
				m.failf("receive: %w", err)
				return true
			}
		}
		for _, ev := range e.core.events {
			if ev.kind == eventOpened {
				e.streams[ev.flow.id] = &modelStream{flow: ev.flow}
			}
		}
		e.core.events = e.core.events[:0]
	}
}

// letter is the byte at an offset of what an end writes to a stream.
func letter(dialer bool, id uint32, off int) byte {
	x := uint32(off)*2654435761 ^ id*40503
	if dialer {
		x ^= 0xa5a5a5a5
	}
	return byte(x>>24) ^ byte(off)
}

func (m *model) open(e *modelEnd) {
	f, err := e.core.open("service", []byte("header"))
	if err == nil {
		e.streams[f.id] = &modelStream{flow: f}
	} else if !errors.Is(err, ErrTooManyStreams) {
		m.failf("open: %w", err)
	}
}

// write writes up to n bytes, as Stream.Write does.
func (m *model) write(e *modelEnd, st *modelStream, n int) {
	f := st.flow
	if st.finished || f.writeError() != nil {
		return
	}
	n = min(n, maxPayload)
	room := e.core.room(n)
	if f.credit <= 0 || room <= 0 {
		return
	}
	n = min(n, f.credit, max(room, smallPayload))
	p := make([]byte, n)
	for i := range p {
		p[i] = letter(e == m.a, f.id, st.written+i)
	}
	if n <= smallPayload {
		e.core.send(f, p)
	} else {
		f.credit -= n
		seg, payload := newDataFrame(f.id, n)
		copy(payload, p)
		if !e.core.sendSegment(f, seg) {
			m.failf("segment of stream %d dropped", f.id)
		}
	}
	st.written += n
}

// read reads up to n bytes and checks each.
func (m *model) read(e *modelEnd, st *modelStream, n int) bool {
	f := st.flow
	if f.unwanted || f.queue.size == 0 {
		return false
	}
	n = min(n, f.queue.size)
	for _, b := range f.queue.view(nil, n) {
		for _, c := range b {
			if want := letter(e != m.a, f.id, st.read); c != want {
				m.failf("stream %d: byte %d is %#x and not %#x", f.id, st.read, c, want)
			}
			st.read++
		}
	}
	e.core.consume(f, n)
	return true
}

// check looks at what must hold at all times.
func (m *model) check() {
	for _, e := range []*modelEnd{m.a, m.b} {
		c := e.core
		if kept := c.log.kept(); kept > c.cfg.replayBytes+maxPayload+controlSlack {
			m.failf("%d bytes are kept", kept)
		}
		if c.remoteFlows > c.cfg.maxStreams {
			m.failf("%d streams are open", c.remoteFlows)
		}
		for _, f := range c.flows {
			if f.queue.size+f.owed > f.window+f.consumed || f.window > c.cfg.windowBytes {
				m.failf("stream %d: %d bytes wait and %d may come, of a window of %d", f.id, f.queue.size, f.owed, f.window)
			}
		}
	}
}

// settle lets everything go its way, without more losses, until nothing happens
// any more, and checks that nothing is missing.
func (m *model) settle() {
	m.reconnect()
	for progress := true; progress && m.fault == nil; {
		progress = false
		for _, e := range []*modelEnd{m.a, m.b} {
			e.core.ackNow()
			progress = m.transmit(e, batchBytes) || progress
			progress = m.arrive(e, 1<<30) || progress
			for _, st := range e.streams {
				progress = m.read(e, st, 1<<30) || progress
			}
		}
		m.check()
	}
	for _, e := range []*modelEnd{m.a, m.b} {
		if kept := e.core.log.kept(); kept > 0 {
			m.failf("%d bytes are not acknowledged in the end", kept)
		}
		for id, st := range e.streams {
			m.settled(e, id, st)
		}
	}
}

// settled checks a stream at its end.
func (m *model) settled(e *modelEnd, id uint32, st *modelStream) {
	other := m.peer(e).streams[id]
	if other == nil {
		m.failf("stream %d has not reached the other end", id)
		return
	}
	if st.reset || other.reset {
		if !st.flow.gone || !other.flow.gone {
			m.failf("stream %d was reset and is not gone", id)
		}
		return
	}
	if !other.flow.unwanted && st.written != other.read {
		m.failf("stream %d: %d bytes written and %d read", id, st.written, other.read)
	}
	if st.finished && !other.flow.finRcvd {
		m.failf("stream %d: the end has not arrived", id)
	}
	if st.flow.finSent && other.flow.finSent && !st.flow.gone {
		m.failf("stream %d has ended both ways and is not gone", id)
	}
}

// step does one thing at random.
func (m *model) step(r *rand.Rand) {
	e := m.a
	if r.IntN(2) == 0 {
		e = m.b
	}
	size := 1 + r.IntN(1<<(1+r.IntN(17)))
	switch k := r.IntN(1000); {
	case k < 10:
		m.open(e)
	case k < 15:
		m.lose()
	case k < 40:
		m.take(r.IntN(3) > 0)
	case k < 55:
		e.core.ackNow()
	case k < 60:
		e.core.ping(uint64(size))
	case k < 150:
		m.begin(e, size)
	case k < 200:
		if e.writing != nil {
			e.writing.proceed(size)
		}
	case k < 300:
		m.transmit(e, size)
	case k < 600:
		m.arrive(e, size)
	default:
		if st := e.pick(r); st != nil {
			m.act(e, st, k, size)
		}
	}
	m.check()
}

// act does one thing with a stream.
func (m *model) act(e *modelEnd, st *modelStream, k, size int) {
	switch {
	case k < 602:
		e.core.reset(st.flow, "no more")
		st.reset = true
	case k < 604:
		e.core.stop(st.flow)
		st.flow.queue.drop()
	case k < 608:
		if !st.finished && !st.flow.gone {
			st.finished = true
			e.core.finish(st.flow)
		}
	case k < 800:
		m.read(e, st, size)
	default:
		m.write(e, st, size)
	}
}

func (e *modelEnd) pick(r *rand.Rand) *modelStream {
	if len(e.streams) == 0 {
		return nil
	}
	ids := make([]uint32, 0, len(e.streams))
	for id := uint32(1); len(ids) < len(e.streams); id++ {
		if e.streams[id] != nil {
			ids = append(ids, id)
		}
	}
	return e.streams[ids[r.IntN(len(ids))]]
}

// TestModelRandom lets chance decide. A seed that fails is printed.
func TestModelRandom(t *testing.T) {
	runs := 150
	if testing.Short() || raceDetector {
		runs = 30
	}
	moved, lost := 0, 0
	for seed := range uint64(runs) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := newModel(coreConfig{
			replayBytes: minReplayBytes << r.IntN(3), windowBytes: minWindowBytes << r.IntN(8),
			memoryBytes: minWindowBytes << r.IntN(10), maxStreams: 1 + r.IntN(8),
		})
		for range 3000 {
			before := m.hello
			m.step(r)
			if m.hello != before && m.hello != nil {
				lost++
			}
			if m.fault != nil {
				break
			}
		}
		if m.fault == nil {
			m.settle()
		}
		if m.fault != nil {
			t.Fatalf("seed %d: %v", seed, m.fault)
		}
		for _, st := range m.a.streams {
			moved += st.read
		}
	}
	if moved < 1<<20 || lost < runs {
		t.Fatalf("only %d bytes were moved and %d connections lost: the test is not worth much", moved, lost)
	}
	t.Logf("%d bytes moved to one end, %d connections lost", moved, lost)
}

// TestModelResumeWhileWriting has a connection lost, and the next one taken, before
// the write to the first has returned, after some of what it writes has arrived or
// all of it. Then more is written, which must go on from there.
func TestModelResumeWhileWriting(t *testing.T) {
	for _, first := range []int{1, 700, smallPayload, maxPayload} {
		for _, arrived := range []int{0, 1, headerSize, first, first + headerSize, 1 << 20} {
			for _, after := range []int{1, smallPayload, maxPayload} {
				m := newModel(coreConfig{replayBytes: minReplayBytes, windowBytes: 256 << 10, maxStreams: 2})
				m.open(m.a)
				m.transmit(m.a, batchBytes)
				m.arrive(m.b, 1<<20)
				st := m.a.streams[1]
				m.write(m.a, st, first)
				m.begin(m.a, batchBytes)
				m.a.writing.proceed(1 << 20)
				m.arrive(m.b, arrived)
				m.reconnect()
				m.write(m.a, st, after)
				m.finish(m.a) // the write to the first connection
				m.transmit(m.a, batchBytes)
				m.arrive(m.b, 1<<20)
				m.write(m.a, st, 1)
				m.transmit(m.a, batchBytes)
				m.arrive(m.b, 1<<20)
				m.settle()
				if m.fault != nil {
					t.Errorf("%d bytes written, %d of them arrived, %d more: %v", first, arrived, after, m.fault)
				}
			}
		}
	}
}

// TestModelExhaustive tries every sequence of a few steps on one stream that is
// written to from both ends.
func TestModelExhaustive(t *testing.T) {
	steps := []func(m *model, st, peer *modelStream){
		func(m *model, st, _ *modelStream) { m.write(m.a, st, 3) },
		func(m *model, _, peer *modelStream) {
			if peer != nil {
				m.write(m.b, peer, smallPayload+1)
			}
		},
		func(m *model, _, _ *modelStream) { m.transmit(m.a, 1) },
		func(m *model, _, _ *modelStream) { m.b.core.ackNow(); m.transmit(m.b, 1) },
		func(m *model, _, _ *modelStream) { m.arrive(m.b, headerSize+1) },
		func(m *model, _, _ *modelStream) { m.arrive(m.a, 1<<20) },
		func(m *model, _, _ *modelStream) { m.lose() },
		func(m *model, _, _ *modelStream) { m.take(true) },
		func(m *model, _, _ *modelStream) { m.take(false) },
		func(m *model, st, _ *modelStream) {
			if !st.finished && !st.flow.gone {
				st.finished = true
				m.a.core.finish(st.flow)
			}
		},
	}
	depth := 5
	if testing.Short() || raceDetector {
		depth = 4
	}
	total := 1
	for range depth {
		total *= len(steps)
	}
	for n := range total {
		m := newModel(coreConfig{replayBytes: minReplayBytes, windowBytes: minWindowBytes, maxStreams: 2})
		m.open(m.a)
		m.write(m.a, m.a.streams[1], 2)
		m.transmit(m.a, 1)
		m.arrive(m.b, 20)
		for rest, i := n, 0; i < depth; rest, i = rest/len(steps), i+1 {
			steps[rest%len(steps)](m, m.a.streams[1], m.b.streams[1])
		}
		if m.fault == nil {
			m.settle()
		}
		if m.fault != nil {
			t.Fatalf("sequence %d: %v", n, m.fault)
		}
	}
}

var _ io.Reader = (*wire)(nil)
