// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/container-offload/offload/rexec/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

const (
	// requestTimeout bounds how long a client may take to say what it wants, and
	// to open the streams it has announced.
	requestTimeout = 10 * time.Second
	// maxWaiting bounds the streams of a client that no run has asked for yet.
	maxWaiting = 4 * maxFiles
)

// peer is a session with a client.
type peer struct {
	s    *Server
	sess *session.Session
	name string

	mu      sync.Mutex
	streams map[wire.IOHeader]*session.Stream
	arrived sync.Cond
	ended   bool
}

// serve serves a session until it ends.
func (s *Server) serve(ctx context.Context, sess *session.Session, name string) {
	p := &peer{s: s, sess: sess, name: name, streams: make(map[wire.IOHeader]*session.Stream)}
	p.arrived.L = &p.mu
	control, io := sess.Listen(wire.ServiceControl), sess.Listen(wire.ServiceIO)
	sess.Ready()
	stop := context.AfterFunc(ctx, func() { sess.Close() })
	defer stop()
	go func() {
		for {
			c, err := io.Accept()
			if err != nil {
				return
			}
			p.offer(c.(*session.Stream))
		}
	}()
	var controls sync.WaitGroup
	for {
		c, err := control.Accept()
		if err != nil {
			break
		}
		controls.Go(func() { p.control(c.(*session.Stream)) })
	}
	p.end()
	controls.Wait()
}

// offer keeps a stream for the run that will ask for it.
func (p *peer) offer(st *session.Stream) {
	h, err := wire.ParseIOHeader(st.Header())
	if err != nil {
		st.Reset(err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || p.streams[h] != nil || len(p.streams) >= maxWaiting {
		st.Reset(errors.New("nobody waits for this stream"))
		return
	}
	p.streams[h] = st
	p.arrived.Broadcast()
}

// take waits for a stream that the client has announced.
func (p *peer) take(h wire.IOHeader) *session.Stream {
	expired := false
	t := time.AfterFunc(requestTimeout, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		expired = true
		p.arrived.Broadcast()
	})
	defer t.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if st := p.streams[h]; st != nil {
			delete(p.streams, h)
			return st
		}
		if p.ended || expired {
			return nil
		}
		p.arrived.Wait()
	}
}

// drop resets the streams of a token that no run will take.
func (p *peer) drop(t wire.Token) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for h, st := range p.streams {
		if h.Token == t {
			delete(p.streams, h)
			st.Reset(errors.New("nobody waits for this stream"))
		}
	}
}

func (p *peer) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.arrived.Broadcast()
}

// control serves one control stream.
func (p *peer) control(st *session.Stream) {
	c := newClient(st)
	defer c.close()
	// It fails only on a stream that is closed, which shows at once.
	_ = st.SetReadDeadline(time.Now().Add(requestTimeout))
	in := bufio.NewReaderSize(st, 512)
	m, err := wire.Read(in)
	if err != nil {
		c.tell(&wire.Failed{Reason: wire.ReasonInvalid, Text: err.Error()})
		return
	}
	_ = st.SetReadDeadline(time.Time{})
	switch m := m.(type) {
	case *wire.Run:
		err = p.run(c, in, m)
	case *wire.Attach:
		err = p.attach(c, in, m)
	case *wire.List:
		c.tell(p.s.listing())
	case *wire.Wait:
		err = p.wait(c, in, m)
	case *wire.Kill:
		err = p.s.kill(m)
		if err == nil {
			c.tell(&wire.Done{})
		}
	default:
		err = fail(wire.ReasonInvalid, "unexpected message")
	}
	if err != nil {
		c.tell(failed(err))
	}
}

func (p *peer) run(c *client, in *bufio.Reader, m *wire.Run) error {
	who := p.name
	if m.Caller != "" {
		who += " " + clean(m.Caller)
	}
	own := c
	if m.Background {
		own = nil
	}
	r, err := p.s.start(m, own, who)
	if err != nil {
		p.s.log.Info("run refused", "who", who, "command", shortCommand(m.Args), "error", err)
		p.drop(m.Token)
		return err
	}
	if m.Background {
		r.greet(c)
		return nil
	}
	p.join(r, m.Token)
	p.converse(r, c, in)
	return nil
}

// clean makes a text of the client's fit for the log.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	return s[:min(len(s), 128)]
}

func (p *peer) attach(c *client, in *bufio.Reader, m *wire.Attach) error {
	r, err := p.s.find(m.ID)
	if err != nil {
		return err
	}
	if !r.attach(c) {
		return fail(wire.ReasonBusy, "run %s has a client", r.id)
	}
	r.greet(c)
	if m.Size != nil && r.io.terminal != nil {
		if err := r.resize(*m.Size); err != nil {
			r.log.Debug("resize terminal", "error", err)
		}
	}
	p.join(r, m.Token)
	p.converse(r, c, in)
	return nil
}

// join gives every channel of a run its stream as soon as that arrives.
func (p *peer) join(r *run, t wire.Token) {
	for _, ch := range r.io.channels {
		go func() {
			st := p.take(wire.IOHeader{Token: t, Number: ch.file.Number})
			if st == nil {
				if !r.detach {
					ch.setMode(channelDiscards)
				}
				return
			}
			ch.attach(st)
		}()
	}
}

// converse takes what a client says to its run, until one of both ends.
func (p *peer) converse(r *run, c *client, in *bufio.Reader) {
	defer r.leave(c)
	for {
		m, err := wire.Read(in)
		if err != nil {
			return
		}
		switch m := m.(type) {
		case *wire.Signal:
			sig, err := wire.ParseSignal(m.Name)
			if err == nil {
				err = r.signal(sig)
			}
			if err != nil {
				r.log.Debug("signal program", "signal", m.Name, "error", err)
			}
			c.tell(&wire.Done{Seq: m.Seq})
		case *wire.Resize:
			if err := r.resize(m.Size); err != nil {
				r.log.Debug("resize terminal", "error", err)
			}
		case *wire.Leave:
			return
		default:
			c.tell(&wire.Failed{Reason: wire.ReasonInvalid, Text: fmt.Sprintf("unexpected %T", m)})
			return
		}
	}
}

// wait answers when a run has ended. A client that hangs up waits no more.
func (p *peer) wait(c *client, in *bufio.Reader, m *wire.Wait) error {
	r, err := p.s.find(m.ID)
	if err != nil {
		return err
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = in.ReadByte()
	}()
	select {
	case <-r.exited:
		status := r.describe().Status
		c.tell(&status)
	case <-gone:
	}
	return nil
}

func (s *Server) listing() *wire.Listing {
	s.mu.Lock()
	runs := make([]*run, 0, len(s.runs))
	for _, r := range s.runs {
		runs = append(runs, r)
	}
	s.mu.Unlock()
	slices.SortFunc(runs, func(a, b *run) int { return a.started.Compare(b.started) })
	l := new(wire.Listing)
	size := 0
	for _, r := range runs {
		info := r.describe()
		info.Command = shorten(info.Command)
		if size += 512 + len(strings.Join(info.Command, " ")); size > wire.MaxMessage/2 {
			break
		}
		l.Runs = append(l.Runs, info)
	}
	return l
}

// shorten keeps the beginning of a command.
func shorten(command []string) []string {
	const most = 1024
	n := 0
	for i, a := range command {
		if n += len(a) + 1; n > most {
			return append(slices.Clone(command[:i]), "…")
		}
	}
	return command
}

func (s *Server) kill(m *wire.Kill) error {
	r, err := s.find(m.ID)
	if err != nil {
		return err
	}
	sig, err := wire.ParseSignal(m.Signal)
	if err != nil {
		return fail(wire.ReasonInvalid, "%w", err)
	}
	r.mu.Lock()
	proc := r.proc
	r.mu.Unlock()
	if err := proc.signal(sig, true); err != nil {
		return fmt.Errorf("signal run %s: %w", r.id, err)
	}
	return nil
}
