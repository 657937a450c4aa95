// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"sync"
)

// cable carries TCP connections to an address until it is cut.
type cable struct {
	l  net.Listener
	to string

	mu     sync.Mutex
	mended sync.Cond
	down   bool
	ended  bool
	conns  map[net.Conn]bool
}

func newCable(to string) (*cable, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &cable{l: l, to: to, conns: make(map[net.Conn]bool)}
	c.mended.L = &c.mu
	go c.accept()
	return c, nil
}

func (c *cable) address() string { return c.l.Addr().String() }

func (c *cable) accept() {
	for {
		near, err := c.l.Accept()
		if err != nil {
			return
		}
		go c.join(near)
	}
}

// join carries a connection both ways.
func (c *cable) join(near net.Conn) {
	defer near.Close()
	if !c.pass() {
		return
	}
	far, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer far.Close()
	c.mu.Lock()
	c.conns[near], c.conns[far] = true, true
	c.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		both.Go(func() {
			c.carry(way[0], way[1])
			near.Close()
			far.Close()
		})
	}
	both.Wait()
	c.mu.Lock()
	delete(c.conns, near)
	delete(c.conns, far)
	c.mu.Unlock()
}

// carry copies one way. What it has read when the cable is cut is lost with the
// connection, or late.
func (c *cable) carry(from, to net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || !c.pass() {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// pass waits while the cable is cut without a word, and reports whether it is whole.
func (c *cable) pass() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.down && !c.ended {
		c.mended.Wait()
	}
	return !c.ended
}

// cut stops the cable until mend. A silent cut closes nothing.
func (c *cable) cut(silent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = true
	if !silent {
		for conn := range c.conns {
			conn.Close()
		}
	}
}

func (c *cable) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = false
	c.mended.Broadcast()
}

func (c *cable) close() {
	c.l.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.mended.Broadcast()
	for conn := range c.conns {
		conn.Close()
	}
}
