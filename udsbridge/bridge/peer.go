// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// peer is the other side, for as long as one session lasts.
type peer struct {
	b *Bridge
	s *session.Session

	ctx       context.Context // of serve
	lastToken atomic.Uint64
	watch     chan struct{} // has something if the prefixes have changed

	mu sync.Mutex
	// theirs is what the peer says of itself; helloed is closed once it has.
	theirs  wire.Hello
	helloed chan struct{}
	// Streams of passed descriptors that have come, and those that are waited for.
	arrived map[uint64]*session.Stream
	awaited map[uint64]chan *session.Stream
	joints  map[*joint]struct{}
}

func newPeer(b *Bridge, s *session.Session) *peer {
	return &peer{
		b: b, s: s,
		watch:   make(chan struct{}, 1),
		helloed: make(chan struct{}),
		arrived: make(map[uint64]*session.Stream),
		awaited: make(map[uint64]chan *session.Stream),
		joints:  make(map[*joint]struct{}),
	}
}

// serve offers the bridge's services on the session until that or ctx ends.
func (p *peer) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.ctx = ctx
	var running sync.WaitGroup
	defer running.Wait()
	for service, handle := range map[string]func(context.Context, *session.Stream){
		wire.ServiceControl: p.answerControl,
		wire.ServiceConnect: p.serveConnect,
		wire.ServiceFile:    p.fileArrived,
	} {
		l := p.s.Listen(service)
		stop := context.AfterFunc(ctx, func() { l.Close() })
		defer stop()
		running.Go(func() { acceptAll(ctx, l, handle) })
	}
	running.Go(func() { p.control(ctx) })
	select {
	case <-ctx.Done():
		cancel()
		return nil
	case <-p.s.Done():
		cancel()
		return fmt.Errorf("bridge: %w", p.s.Err())
	}
}

func acceptAll(ctx context.Context, l net.Listener, handle func(context.Context, *session.Stream)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		st, ok := c.(*session.Stream)
		if !ok {
			c.Close()
			continue
		}
		go handle(ctx, st)
	}
}

// open opens a stream. While the link is down it waits for it to come back.
func (p *peer) open(service string, header []byte) (*session.Stream, error) {
	for {
		st, err := p.s.Open(context.Background(), service, header)
		if errors.Is(err, session.ErrDisconnected) {
			continue
		}
		return st, err
	}
}

// connectPatience bounds how long a connection waits for room in the backlog of the
// program it is for.
const connectPatience = time.Minute

// serveConnect makes the connection that the peer asks for.
func (p *peer) serveConnect(ctx context.Context, st *session.Stream) {
	c, err := wire.ParseConnect(st.Header())
	if err != nil {
		st.Reset(err)
		return
	}
	fd, err := p.connectPatiently(ctx, c)
	reply := wire.Reply{}
	if err != nil {
		p.b.log.Debug("refused a connection of the peer", "path", c.Path, "uid", c.Who.UID, "pid", c.Who.PID, "error", err)
		reply = wire.Reply{Errno: errnoOf(err), Reason: err.Error()}
	}
	if _, err := st.Write(wire.AppendFrame(nil, wire.FrameReply, reply.Encode())); err != nil || reply.Errno != 0 {
		if reply.Errno == 0 {
			unix.Close(fd)
		}
		st.Close()
		return
	}
	p.b.log.Debug("connected for the peer", "path", c.Path, "uid", c.Who.UID, "pid", c.Who.PID)
	k := messageSocket
	if c.Kind == wire.Stream {
		k = byteSocket
	}
	if err := p.join(&joint{st: st, fd: fd, kind: k}); err != nil {
		p.b.noteProblem(err)
	}
}

// connectPatiently waits as a blocking connect(2) does while the backlog is full.
func (p *peer) connectPatiently(ctx context.Context, c wire.Connect) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	pause := time.Millisecond
	for {
		fd, err := connectTo(p.b.serveRules(), c)
		if !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
		select {
		case <-ctx.Done():
			return -1, err
		case <-time.After(pause):
			pause = min(2*pause, 50*time.Millisecond)
		}
	}
}
