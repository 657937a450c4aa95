// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"encoding/binary"
	"fmt"
)

const (
	// minFirstWindow and maxFirstWindow bound the credit a stream starts with, in
	// bytes.
	minFirstWindow = 4 << 10
	maxFirstWindow = 64 << 10
	// maxHeaders bounds the headers of all streams that one end has open, in bytes.
	maxHeaders = 8 << 20
	// maxUnsent is how much may queue up before writers wait, in bytes: as much as
	// what is written to one stream may hold up another.
	maxUnsent = 256 << 10
	// ackEvery is how many bytes may arrive before something must be sent back.
	ackEvery = 32 << 10
	// controlSlack is how much frames other than DATA may exceed the bound of the
	// log before a peer that acknowledges nothing is given up.
	controlSlack = 1 << 20
	// maxStreamID bounds the ids of streams, which are never used twice.
	maxStreamID = 1 << 31
)

// coreConfig are the bounds that one end sets.
type coreConfig struct {
	dialer      bool
	replayBytes int
	windowBytes int
	memoryBytes int
	maxStreams  int
}

// firstWindow is the credit a stream starts with, in bytes: half of the memory is
// for the first windows of all streams.
func (c coreConfig) firstWindow() int {
	share := min(max(c.memoryBytes/2/c.maxStreams, minFirstWindow), maxFirstWindow)
	return min(share, c.windowBytes)
}

// maxWidened bounds how much the windows of all streams together may have grown
// beyond the first ones, in bytes.
func (c coreConfig) maxWidened() int {
	return max(c.memoryBytes-c.maxStreams*c.firstWindow(), c.memoryBytes/4)
}

// eventKind says what has happened to a flow.
type eventKind uint8

const (
	eventOpened   eventKind = iota // by the peer
	eventReadable                  // data, end or error
	eventWritable                  // credit, stop or error
)

type event struct {
	kind eventKind
	flow *flow
}

// core is the protocol of one end of a session: it is fed frames and calls, and
// asked what to send. It has no I/O, no clock and no goroutines, and isn't safe
// for concurrent use. What it wants the shell to know is in events, which the
// shell empties.
//
// An error that wraps ErrProtocol ends the session.
type core struct {
	cfg coreConfig
	// windowLimit is how wide windows may get on the present connection.
	windowLimit int
	peer        terms
	log         sendLog
	events      []event

	connected bool
	received  uint64 // reliable bytes
	ackSent   uint64 // the last received that was sent
	reserved  int    // bytes on their way into the log
	widened   int    // by how much windows have grown
	silent    int    // bytes of all kinds since something was last sent
	ctl       []byte // unreliable frames to send

	flows       map[uint32]*flow
	nextID      uint32 // of the next stream opened here
	lastPeerID  uint32 // of the last stream opened by the peer
	localFlows  int
	remoteFlows int
	// Bytes of the headers of those.
	localHeaders  int
	remoteHeaders int

	byeReason string // valid if bye
	bye       bool   // received
}

func newCore(cfg coreConfig) *core {
	c := &core{cfg: cfg, windowLimit: cfg.windowBytes, flows: make(map[uint32]*flow), nextID: 2}
	if cfg.dialer {
		c.nextID = 1
	}
	return c
}

// terms returns what to tell the peer with a connection.
func (c *core) terms() terms {
	return terms{
		received: c.received,
		window:   uint32(c.cfg.firstWindow()),
		streams:  uint32(c.cfg.maxStreams),
	}
}

// connect begins to use a connection whose other end has sent t.
func (c *core) connect(t terms) error {
	if err := c.log.rewind(t.received); err != nil {
		return err
	}
	c.peer = t
	c.connected = true
	c.ctl = c.ctl[:0]
	c.ackSent, c.silent = c.received, 0 // the terms have told it
	return nil
}

// disconnect forgets the connection.
func (c *core) disconnect() { c.connected = false }

// Sending.

// room is how much data may be added to the log for a payload of n bytes.
func (c *core) room(n int) int {
	room := c.cfg.replayBytes - c.log.kept() - c.reserved
	if n > smallPayload {
		// What is small needs not wait behind what is large.
		room = min(room, maxUnsent-c.log.unsent()-c.reserved)
	}
	return max(room, 0)
}

// pending reports whether there is something to send now.
func (c *core) pending() bool {
	return c.connected && (c.log.unsent() > 0 || len(c.ctl) > 0 || c.silent >= ackEvery)
}

// ackWaits reports whether the peer waits to hear what has arrived.
func (c *core) ackWaits() bool { return c.connected && c.received != c.ackSent }

// ackNow makes the next batch tell what has arrived.
func (c *core) ackNow() {
	if c.ackWaits() {
		c.silent = max(c.silent, ackEvery)
	}
}

// batch returns what to send now: ctl, which is appended to the given slice, then
// the slices of the log, about limit bytes. The log is pinned until sent is called.
func (c *core) batch(ctl []byte, dst [][]byte, limit int) ([]byte, [][]byte) {
	ctl = append(ctl, c.ctl...)
	c.ctl = c.ctl[:0]
	if c.ackWaits() || c.silent >= ackEvery {
		ctl = appendControl(ctl, frameAck, c.received)
		c.ackSent = c.received
	}
	c.silent = 0
	c.log.pin()
	return ctl, c.log.next(dst, limit)
}

// sent says that the last batch is not needed any more.
func (c *core) sent() { c.log.unpin() }

func appendControl(b []byte, t frameType, v uint64) []byte {
	var f [headerSize + 8]byte
	frameHeader{typ: t, length: 8}.put(f[:])
	binary.BigEndian.PutUint64(f[headerSize:], v)
	return append(b, f[:]...)
}

// ping asks the peer for a sign of life.
func (c *core) ping(token uint64) {
	if c.connected {
		c.ctl = appendControl(c.ctl, framePing, token)
	}
}

// sayBye tells the peer that the session ends here.
func (c *core) sayBye(reason string) {
	reason = cutReason(reason)
	var h [headerSize]byte
	frameHeader{typ: frameBye, length: len(reason)}.put(h[:])
	c.ctl = append(append(c.ctl, h[:]...), reason...)
}

// control adds a reliable frame other than DATA and returns its payload.
func (c *core) control(t frameType, stream uint32, n int) []byte {
	b := c.log.extend(headerSize + n)
	frameHeader{t, n, stream}.put(b)
	return b[headerSize:]
}

// open opens a stream.
func (c *core) open(service string, header []byte) (*flow, error) {
	if c.localFlows >= int(c.peer.streams) {
		return nil, fmt.Errorf("%w: the peer allows %d", ErrTooManyStreams, c.peer.streams)
	}
	if c.nextID >= maxStreamID {
		return nil, fmt.Errorf("%w: the session has used up all stream ids", ErrTooManyStreams)
	}
	if c.localHeaders+len(header) > maxHeaders {
		return nil, fmt.Errorf("%w: their headers are %d bytes", ErrTooManyStreams, c.localHeaders)
	}
	f := c.newFlow(c.nextID, service, header)
	c.nextID += 2
	c.localFlows++
	c.localHeaders += len(header)
	c.flows[f.id] = f
	b := c.control(frameOpen, f.id, 1+len(service)+len(header))
	b[0] = byte(len(service))
	copy(b[1+copy(b[1:], service):], header)
	return f, nil
}

func (c *core) newFlow(id uint32, service string, header []byte) *flow {
	first := c.cfg.firstWindow()
	return &flow{id: id, service: service, header: header, credit: int(c.peer.window), owed: first, window: first}
}

// send sends a small payload, for which there must be credit and room.
func (c *core) send(f *flow, p []byte) {
	f.credit -= len(p)
	copy(c.control(frameData, f.id, len(p)), p)
}

// sendSegment sends a DATA frame from newDataFrame, for which the caller has taken
// the credit. If the stream can't be written to any more, the frame is dropped.
func (c *core) sendSegment(f *flow, s *segment) bool {
	if f.finSent || f.gone {
		s.release()
		return false
	}
	c.log.add(s)
	return true
}

// finish ends the outgoing direction.
func (c *core) finish(f *flow) {
	if f.finSent || f.gone {
		return
	}
	f.finSent = true
	c.control(frameFin, f.id, 0)
	c.settle(f)
}

// stop drops the incoming direction.
func (c *core) stop(f *flow) {
	if f.unwanted {
		return
	}
	f.unwanted = true
	if !f.finRcvd && !f.gone {
		c.control(frameStop, f.id, 0)
	}
}

// reset gives up both directions.
func (c *core) reset(f *flow, reason string) {
	if f.err == nil {
		f.err = &ResetError{Service: f.service, Reason: cutReason(reason)}
	}
	f.unwanted = true
	if f.gone {
		return
	}
	text := cutReason(reason)
	copy(c.control(frameReset, f.id, len(text)), text)
	c.remove(f)
}

// settle removes a stream that has ended both ways.
func (c *core) settle(f *flow) {
	if f.finSent && f.finRcvd {
		c.remove(f)
	}
}

func (c *core) remove(f *flow) {
	if f.gone {
		return
	}
	f.gone = true
	c.widened -= f.window - c.cfg.firstWindow()
	delete(c.flows, f.id)
	if c.isLocal(f.id) {
		c.localFlows--
		c.localHeaders -= len(f.header)
	} else {
		c.remoteFlows--
		c.remoteHeaders -= len(f.header)
	}
}

func (c *core) isLocal(id uint32) bool { return id&1 == c.nextID&1 }

// consume drops the first n bytes of what has arrived and gives the peer credit
// for more when it is worth a frame.
func (c *core) consume(f *flow, n int) {
	f.queue.consume(n)
	f.consumed += n
	if f.finRcvd || f.gone || f.unwanted || f.consumed < f.window/4 {
		return
	}
	grant := f.consumed
	// A small first window is made up for at once, later ones grow twofold.
	more := min(max(f.window, maxFirstWindow-f.window), c.windowLimit-f.window, c.cfg.maxWidened()-c.widened)
	if f.queue.size == 0 && more > 0 {
		// The reader keeps up: let the peer go further ahead.
		grant += more
		f.window += more
		c.widened += more
	}
	f.consumed = 0
	f.owed += grant
	binary.BigEndian.PutUint32(c.control(frameWindow, f.id, windowSize-headerSize), uint32(grant))
}

// fail ends every stream with an error.
func (c *core) fail(err error) {
	for _, f := range c.flows {
		if f.err == nil {
			f.err = fmt.Errorf("stream %q: %w", f.service, err)
		}
		c.remove(f)
		c.note(eventReadable, f)
		c.note(eventWritable, f)
	}
	c.disconnect()
	c.log.drop()
	c.ctl = nil
}

func (c *core) note(k eventKind, f *flow) { c.events = append(c.events, event{k, f}) }
