// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"sync"

	"github.com/container-offload/offload/rexec/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// maxNews bounds what waits to be told to a client that doesn't listen.
const maxNews = 256

// client is a control stream, to which messages are written without waiting.
type client struct {
	stream *session.Stream

	mu      sync.Mutex
	news    []wire.Message
	writing bool
	closing bool
	idle    sync.Cond
}

func newClient(st *session.Stream) *client {
	c := &client{stream: st}
	c.idle.L = &c.mu
	return c
}

// tell sends a message, after those before it. A client that lets too many wait
// is given up.
func (c *client) tell(m wire.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return
	}
	if len(c.news) >= maxNews {
		c.closing = true
		c.stream.Close()
		return
	}
	c.news = append(c.news, m)
	if !c.writing {
		c.writing = true
		go c.write()
	}
}

func (c *client) write() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.news) > 0 {
		m := c.news[0]
		c.news = c.news[1:]
		c.mu.Unlock()
		err := wire.Write(c.stream, m)
		c.mu.Lock()
		if err != nil {
			// Whoever reads the stream sees that it has ended.
			c.news, c.closing = nil, true
		}
	}
	c.writing = false
	c.idle.Broadcast()
}

// close sends what there is, and ends the stream.
func (c *client) close() {
	c.mu.Lock()
	for c.writing {
		c.idle.Wait()
	}
	c.closing = true
	c.mu.Unlock()
	c.stream.Close()
}
