// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/framing"
	"github.com/container-offload/offload/remotefs/wire"
)

// maxLost bounds the requests that a soft mount has given up and that were not
// answered yet: they take memory on both sides. While there are that many, no
// other request is sent.
const maxLost = 64

// waitsForLock tells whether the server may take any time for a request.
func waitsForLock(req *wire.Request) bool {
	return req.Op == wire.OpSetLock && req.Flags&wire.LockWait != 0
}

// doSoft waits for a reply for a limited time. Neither the request nor its reply
// uses anything that the kernel lends, so that whatever is under way then, in
// either direction, can be left to itself.
func (c *conn) doSoft(cancel <-chan struct{}, p *call) unix.Errno {
	own := &call{req: p.req, dest: make([]byte, len(p.dest)), pid: p.pid, done: make(chan struct{}, 1)}
	own.req.Data = slices.Clone(p.req.Data)
	id, ok := c.register(own)
	if !ok {
		return unix.EIO
	}
	if c.tooManyLost(id) {
		return unix.EIO
	}
	h := wire.Header{Kind: wire.KindRequest, Op: own.req.Op, ID: id}
	if err := c.out.SendLater(h, framing.Body(own.req.AppendBody), own.req.Data); err != nil {
		c.fail(err)
	}
	if err := c.await(cancel, own); err != 0 {
		return err
	}
	p.rep, p.err = own.rep, own.err
	p.rep.Data = p.dest[:copy(p.dest, own.rep.Data)]
	return p.err
}

// tooManyLost takes a request back if the server has too much to answer already.
func (c *conn) tooManyLost(id uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost < maxLost {
		return false
	}
	delete(c.pending, id)
	return true
}

// await waits for the reply to a request, and gives it up after the mount's time
// with EIO, or with EINTR when its process is being killed.
func (c *conn) await(cancel <-chan struct{}, p *call) unix.Errno {
	timeout := time.NewTimer(c.soft)
	defer timeout.Stop()
	var look <-chan time.Time
	for {
		var why unix.Errno
		select {
		case <-p.done:
			return 0
		case <-timeout.C:
			why = unix.EIO
		case <-cancel:
			cancel = nil
			tick := time.NewTicker(killPoll)
			defer tick.Stop()
			look = tick.C
			continue
		case <-look:
			if !dying(p.pid) {
				continue
			}
			why = unix.EINTR
		}
		if c.lose(p) {
			return why
		}
		return 0
	}
}

// lose lets nobody wait for a reply any more, unless it is there.
func (c *conn) lose(p *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-p.done:
		return false
	default:
	}
	p.lost = true
	c.lost++
	return true
}
