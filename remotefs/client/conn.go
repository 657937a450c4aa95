// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/framing"
	"github.com/container-offload/offload/remotefs/wire"
)

// helloTimeout bounds how long the server may take to answer the first request.
const helloTimeout = 30 * time.Second

// killPoll is how often is looked whether a process that has to wait, and got a
// signal, is being killed.
const killPoll = 100 * time.Millisecond

// errClosed ends a connection that was closed on this side.
var errClosed = errors.New("mount was closed")

// call is a request that waits for its reply.
type call struct {
	req  wire.Request
	rep  wire.Reply
	dest []byte // where the reply's data goes
	err  unix.Errno
	done chan struct{}
	pid  uint32 // of the thread that waits

	orphan bool // nobody waits
	lost   bool // nobody waits any more; protected by the connection's mutex
}

var calls = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

func newCall(op wire.Op, h *fuse.InHeader) *call {
	c := calls.Get().(*call)
	c.req.Op, c.pid = op, h.Pid
	return c
}

func (c *call) free() {
	c.req, c.rep, c.dest, c.err, c.pid = wire.Request{}, wire.Reply{}, nil, 0, 0
	calls.Put(c)
}

// conn is the connection to the server. Its methods may be called concurrently.
type conn struct {
	net net.Conn
	in  *framing.Receiver
	out *framing.Sender
	// soft bounds how long a request waits; 0 is for ever.
	soft time.Duration
	// levels tells the server's numbers of nodes from the kernel's.
	levels levels

	requests, errors, read, written atomic.Uint64

	mu      sync.Mutex
	lastID  uint32
	pending map[uint32]*call
	lost    int // requests that nobody waits for any more
	err     error
	ended   chan struct{}
}

func newConn(c net.Conn) *conn {
	return &conn{
		net: c, in: framing.NewReceiver(c), out: framing.NewSender(c),
		pending: map[uint32]*call{}, ended: make(chan struct{}),
	}
}

// hello says what is to be mounted and returns its root.
func (c *conn) hello(ctx context.Context, export string) (wire.Entry, error) {
	stop := context.AfterFunc(ctx, func() { c.net.Close() })
	defer stop()
	_ = c.net.SetDeadline(time.Now().Add(helloTimeout))
	req := wire.Request{Op: wire.OpHello, Magic: wire.Magic, Version: wire.Version, Name: export}
	if _, err := c.out.Send(wire.Header{Kind: wire.KindRequest, Op: wire.OpHello}, req.AppendBody, nil, nil); err != nil {
		return wire.Entry{}, err
	}
	h, body, err := c.in.Next()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return wire.Entry{}, fmt.Errorf("wait for the server's hello: %w", err)
	}
	if h.Kind != wire.KindReply || h.Op != wire.OpHello || h.Data != 0 {
		return wire.Entry{}, fmt.Errorf("%w: the server's first frame is no hello", wire.ErrProtocol)
	}
	if h.Errno != 0 {
		return wire.Entry{}, h.Errno.Local()
	}
	var rep wire.Reply
	if err := rep.ParseBody(wire.OpHello, body); err != nil {
		return wire.Entry{}, err
	}
	if rep.Magic != wire.Magic || rep.Version != wire.Version {
		return wire.Entry{}, fmt.Errorf("%w: server speaks version %d", wire.ErrProtocol, rep.Version)
	}
	_ = c.net.SetDeadline(time.Time{})
	return rep.Entry, nil
}

// run takes replies until the connection ends.
func (c *conn) run() {
	var err error
	for err == nil {
		err = c.receive()
	}
	c.fail(err)
}

func (c *conn) receive() error {
	h, body, err := c.in.Next()
	if err != nil {
		return err
	}
	if h.Kind != wire.KindReply {
		return fmt.Errorf("%w: server sent a frame of kind %d", wire.ErrProtocol, h.Kind)
	}
	c.mu.Lock()
	p := c.pending[h.ID]
	delete(c.pending, h.ID)
	c.mu.Unlock()
	if p == nil || p.req.Op != h.Op {
		err = fmt.Errorf("%w: reply to nothing that was asked", wire.ErrProtocol)
	} else {
		err = c.take(p, h, body)
	}
	switch {
	case p == nil:
	case p.orphan:
		c.disown(p)
	default:
		if err != nil {
			p.err = unix.EIO
		}
		if !c.deliver(p) {
			c.disown(p)
		}
	}
	return err
}

// deliver tells who waits for a reply that it is there, unless nobody does.
func (c *conn) deliver(p *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.lost {
		c.lost--
		return false
	}
	p.done <- struct{}{}
	return true
}

// take decodes a reply.
func (c *conn) take(p *call, h wire.Header, body []byte) error {
	if h.Errno != 0 {
		p.err = h.Errno.Local()
		return nil
	}
	if err := p.rep.ParseBody(h.Op, body); err != nil {
		return err
	}
	if p.orphan {
		return nil
	}
	if h.Data > len(p.dest) {
		return fmt.Errorf("%w: %s reply with %d bytes of data, %d were asked for", wire.ErrProtocol, h.Op, h.Data, len(p.dest))
	}
	p.rep.Data = p.dest[:h.Data]
	return c.in.Data(p.rep.Data)
}

// fail ends the connection; every request fails from now on.
func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	c.net.Close()
	c.out.Close()
	for id, p := range c.pending {
		delete(c.pending, id)
		p.err = unix.EIO
		p.done <- struct{}{}
	}
	close(c.ended)
}

// reason says why the connection ended; nil while it lasts or if this side
// ended it.
func (c *conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err == nil || errors.Is(c.err, errClosed):
		return nil
	case errors.Is(c.err, io.EOF):
		return fmt.Errorf("server closed the connection: %w", io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("connection to the server: %w", c.err)
}

// do sends a request and waits for its reply. When cancel is closed the server
// is asked to give up.
func (c *conn) do(cancel <-chan struct{}, p *call) unix.Errno {
	c.requests.Add(1)
	p.req.Node, p.req.Node2 = c.levels.server(p.req.Node), c.levels.server(p.req.Node2)
	if len(p.req.Name) > wire.MaxName || len(p.req.Name2) > wire.MaxName || len(p.req.Target) > wire.MaxTarget {
		return unix.ENAMETOOLONG
	}
	var err unix.Errno
	if c.soft > 0 && !waitsForLock(&p.req) {
		err = c.doSoft(cancel, p)
	} else {
		err = c.doHard(cancel, p)
	}
	if err != 0 {
		c.errors.Add(1)
	}
	return err
}

// doHard waits as long as it takes.
func (c *conn) doHard(cancel <-chan struct{}, p *call) unix.Errno {
	id, ok := c.register(p)
	if !ok {
		return unix.EIO
	}
	var sent chan struct{}
	var done func()
	if len(p.req.Data) > 0 {
		// The kernel's buffer, which is lent until this returns.
		sent = make(chan struct{})
		done = func() { close(sent) }
	}
	bulk, err := c.out.Send(wire.Header{Kind: wire.KindRequest, Op: p.req.Op, ID: id}, p.req.AppendBody, p.req.Data, done)
	if err != nil {
		c.fail(err)
	}
	select {
	case <-p.done:
	case <-cancel:
		c.cancelled(id, p, bulk)
	}
	if sent != nil {
		<-sent
	}
	return p.err
}

// register gives a request its number; it fails if there is no connection.
func (c *conn) register(p *call) (uint32, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, false
	}
	for {
		c.lastID++
		if _, ok := c.pending[c.lastID]; !ok {
			break
		}
	}
	c.pending[c.lastID] = p
	return c.lastID, true
}

// cancelled waits for the reply to a request whose process got a signal. The
// server is asked to give up waiting for a lock. Nothing else ends early on a file
// system of this machine either, where a program that gets signals all the time,
// as those in Go do, never sees EINTR of a look-up. Whatever the server does, a
// process that is being killed need not wait for it.
func (c *conn) cancelled(id uint32, p *call, bulk *framing.Bulk) {
	giveUp := func() {
		_, _ = c.out.Send(wire.Header{Kind: wire.KindCancel, Op: p.req.Op, ID: id}, nil, nil, nil)
	}
	if p.req.Op == wire.OpSetLock {
		giveUp()
	}
	tick := time.NewTicker(killPoll)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-tick.C:
			if dying(p.pid) && c.abandon(id, p, bulk) {
				giveUp()
				p.err = unix.EINTR
				return
			}
		}
	}
}

// abandon lets nobody wait for a reply any more. It fails while the reply or
// the request's data is under way.
func (c *conn) abandon(id uint32, p *call, bulk *framing.Bulk) bool {
	if bulk != nil && !c.out.Detach(bulk) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending[id] != p {
		return false
	}
	orphan := &call{done: make(chan struct{}, 1), orphan: true}
	orphan.req.Op = p.req.Op
	c.pending[id] = orphan
	return true
}

// disown gives back what the reply to an abandoned request brought.
func (c *conn) disown(p *call) {
	if p.err != 0 {
		return
	}
	switch p.req.Op {
	case wire.OpLookup, wire.OpSymlink, wire.OpMknod, wire.OpMkdir, wire.OpLink, wire.OpCreate, wire.OpTmpfile:
		c.forget(p.rep.Entry.Node, 1)
	}
	switch p.req.Op {
	case wire.OpOpen, wire.OpOpenDir, wire.OpCreate, wire.OpTmpfile:
		c.tell(&wire.Request{Op: wire.OpRelease, Handle: p.rep.Handle})
	}
}

// dying reports whether a process is being killed.
func dying(pid uint32) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	_, rest, ok := bytes.Cut(status, []byte("\nSigPnd:\t"))
	if !ok || len(rest) < 16 {
		return false
	}
	pending, err := strconv.ParseUint(string(rest[:16]), 16, 64)
	return err == nil && pending&(1<<(unix.SIGKILL-1)) != 0
}

// forget gives back references on a node.
func (c *conn) forget(node, count uint64) {
	var buf [wire.ForgetSize]byte
	c.tell(&wire.Request{Op: wire.OpForget, Data: wire.Forget{Node: c.levels.server(node), Count: count}.Append(buf[:0])})
}

// tell sends a request that has no reply.
func (c *conn) tell(req *wire.Request) {
	if c.soft > 0 {
		_ = c.out.SendLater(wire.Header{Kind: wire.KindRequest, Op: req.Op}, req.AppendBody, req.Data)
		return
	}
	_, _ = c.out.Send(wire.Header{Kind: wire.KindRequest, Op: req.Op}, req.AppendBody, req.Data, nil)
}

func (c *conn) inFlight() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending)
}
