// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/container-offload/offload/network/carrier"
	"github.com/container-offload/offload/network/wire"
)

// control is the control stream of a network. One update is under way at a time.
type control struct {
	conn    net.Conn
	replies chan *wire.Reply
	reports chan *wire.Report // the latest only: each tells all there is
	done    chan struct{}     // closed when nothing more will come
	once    sync.Once
	seq     uint64
}

func newControl(conn net.Conn) *control {
	return &control{conn: conn, replies: make(chan *wire.Reply, 1), reports: make(chan *wire.Report, 1), done: make(chan struct{})}
}

func (c *control) close() { c.conn.Close() }

// ended tells whether the HOST has ended the stream.
func (c *control) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// read takes what the HOST says until the stream ends.
func (c *control) read() error {
	defer c.once.Do(func() { close(c.done) })
	for {
		var m wire.Message
		if err := wire.Read(c.conn, &m); err != nil {
			if errors.Is(err, io.EOF) {
				return errors.New("the HOST has ended it")
			}
			return err
		}
		switch {
		case m.Reply != nil:
			select {
			case c.replies <- m.Reply:
			default:
				return errors.New("the HOST answers what was not asked")
			}
		case m.Report != nil:
			select {
			case <-c.reports:
			default:
			}
			c.reports <- m.Report
		}
	}
}

// update sends an update and awaits the answer.
func (c *control) update(ctx context.Context, u wire.Update) (map[uint32]carrier.Terms, error) {
	ctx, cancel := context.WithTimeout(ctx, replyTimeout)
	defer cancel()
	c.seq++
	u.Seq = c.seq
	if err := wire.Write(c.conn, u); err != nil {
		return nil, err
	}
	for {
		select {
		case r := <-c.replies:
			if r.Seq != u.Seq {
				continue // the answer to an update that was given up
			}
			if r.Error != "" {
				return nil, fmt.Errorf("on the HOST: %s", r.Error)
			}
			return r.Answers, nil
		case <-c.done:
			return nil, errors.New("the HOST has ended the network")
		case <-ctx.Done():
			return nil, fmt.Errorf("await the HOST: %w", ctx.Err())
		}
	}
}
