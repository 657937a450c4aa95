// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"encoding/binary"
)

// receive takes one frame. A payload of a DATA frame of more than smallPayload
// bytes comes in a segment, which is the core's from then on; every other payload
// is the caller's and is copied.
func (c *core) receive(h frameHeader, p []byte, seg *segment) error {
	if h.typ.reliable() {
		c.received += uint64(h.size())
		if c.log.kept() > c.cfg.replayBytes+controlSlack {
			return violation("peer acknowledges nothing, %d bytes are waiting", c.log.kept())
		}
	}
	switch h.typ {
	case frameOpen:
		return c.receiveOpen(h.stream, p)
	case frameAck:
		return c.log.ack(binary.BigEndian.Uint64(p))
	case framePing:
		return c.receivePing(binary.BigEndian.Uint64(p))
	case framePong:
		return nil
	case frameBye:
		c.bye, c.byeReason = true, cutReason(string(p))
		return nil
	}
	f, err := c.lookup(h)
	if f == nil {
		if seg != nil {
			seg.release()
		}
		return err
	}
	switch h.typ {
	case frameData:
		return c.receiveData(f, p, seg)
	case frameFin:
		return c.receiveFin(f)
	case frameStop:
		return c.receiveStop(f)
	case frameReset:
		c.receiveReset(f, p)
		return nil
	default:
		return c.receiveWindow(f, binary.BigEndian.Uint32(p))
	}
}

// arrived counts bytes of any kind.
func (c *core) arrived(n int) { c.silent += n }

// lookup finds a frame's stream. There is none, and no error, if the stream has
// ended here while the frame was on its way.
func (c *core) lookup(h frameHeader) (*flow, error) {
	if f, ok := c.flows[h.stream]; ok {
		return f, nil
	}
	opened := h.stream <= c.lastPeerID
	if c.isLocal(h.stream) {
		opened = h.stream < c.nextID
	}
	if !opened {
		return nil, violation("%s frame of stream %d, which was never opened", h.typ, h.stream)
	}
	return nil, nil
}

func (c *core) receiveOpen(id uint32, p []byte) error {
	if c.isLocal(id) || id <= c.lastPeerID || id >= maxStreamID {
		return violation("stream %d opened after %d", id, c.lastPeerID)
	}
	if c.remoteFlows >= c.cfg.maxStreams {
		return violation("more than %d streams opened", c.cfg.maxStreams)
	}
	service, header, err := parseOpen(p)
	if err != nil {
		return err
	}
	if c.remoteHeaders+len(header) > maxHeaders {
		return violation("streams opened whose headers are more than %d bytes", maxHeaders)
	}
	f := c.newFlow(id, service, header)
	c.lastPeerID = id
	c.remoteFlows++
	c.remoteHeaders += len(header)
	c.flows[id] = f
	c.note(eventOpened, f)
	return nil
}

func (c *core) receivePing(token uint64) error {
	// A peer that asks faster than it reads gets no more answers than fit here.
	if len(c.ctl) < 1<<10 {
		c.ctl = appendControl(c.ctl, framePong, token)
	}
	return nil
}

func (c *core) receiveData(f *flow, p []byte, seg *segment) error {
	if f.finRcvd {
		return violation("DATA frame of stream %d after its end", f.id)
	}
	if len(p) > f.owed {
		return violation("DATA frame of %d bytes on stream %d, whose window is %d", len(p), f.id, f.owed)
	}
	f.owed -= len(p)
	switch {
	case f.unwanted:
		if seg != nil {
			seg.release()
		}
		return nil
	case seg != nil:
		f.queue.take(seg)
	default:
		f.queue.add(p)
	}
	c.note(eventReadable, f)
	return nil
}

func (c *core) receiveFin(f *flow) error {
	if f.finRcvd {
		return violation("second FIN frame of stream %d", f.id)
	}
	f.finRcvd = true
	c.settle(f)
	c.note(eventReadable, f)
	return nil
}

func (c *core) receiveStop(f *flow) error {
	if f.stopped {
		return violation("second STOP frame of stream %d", f.id)
	}
	f.stopped = true
	c.finish(f)
	c.note(eventWritable, f)
	return nil
}

func (c *core) receiveReset(f *flow, p []byte) {
	if f.err == nil {
		f.err = &ResetError{Service: f.service, Reason: cutReason(string(p)), Remote: true}
	}
	f.unwanted = true
	c.remove(f)
	c.note(eventReadable, f)
	c.note(eventWritable, f)
}

func (c *core) receiveWindow(f *flow, n uint32) error {
	if n == 0 || int64(f.credit)+int64(n) > maxCredit {
		return violation("WINDOW frame of %d bytes on stream %d, which has %d", n, f.id, f.credit)
	}
	f.credit += int(n)
	c.note(eventWritable, f)
	return nil
}
