// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/container-offload/offload/udsbridge/bridge/policy"
	"github.com/container-offload/offload/udsbridge/bridge/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// control asks the peer what sockets it has, and keeps the mirrors in step.
func (p *peer) control(ctx context.Context) {
	st, err := p.open(wire.ServiceControl, p.b.hello.Encode())
	if err != nil {
		p.b.log.Debug("bridge: ask peer for its sockets", "error", err)
		return
	}
	defer st.Close()
	stop := context.AfterFunc(ctx, func() { st.Close() })
	defer stop()
	go p.keepWatching(ctx, st)
	p.rewatch()
	err = readFrames(st, p.takeControl)
	if ctx.Err() == nil {
		p.b.log.Info("bridge: peer tells of no sockets any more", "error", err)
	}
}

// rewatch has the prefixes sent again.
func (p *peer) rewatch() {
	select {
	case p.watch <- struct{}{}:
	default:
	}
}

func (p *peer) keepWatching(ctx context.Context, st *session.Stream) {
	for {
		select {
		case <-p.watch:
		case <-ctx.Done():
			return
		}
		p.b.mu.Lock()
		var w wire.Watch
		for _, c := range p.b.connectRules() {
			w.Prefixes = append(w.Prefixes, c.Peer())
		}
		p.b.mu.Unlock()
		if _, err := st.Write(wire.AppendFrame(nil, wire.FrameWatch, w.Encode())); err != nil {
			return
		}
	}
}

// readFrames calls take with every frame of a stream until its end.
func readFrames(r io.Reader, take func(wire.Frame) error) error {
	d := wire.Decoder{Whole: true}
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Read(buf)
		for p := buf[:n]; len(p) > 0; {
			f, ok, rest, err := d.Next(p)
			if err != nil {
				return err
			}
			if ok {
				if err := take(f); err != nil {
					return err
				}
			}
			p = rest
		}
		if err != nil {
			return err
		}
	}
}

// takeControl takes what the serving side says.
func (p *peer) takeControl(f wire.Frame) error {
	switch f.Type {
	case wire.FrameHello:
		h, err := wire.ParseHello(f.Payload)
		if err != nil {
			return err
		}
		p.hello(h)
		return nil
	case wire.FrameSockets:
		s, err := wire.ParseSockets(f.Payload)
		if err != nil {
			return err
		}
		p.b.update(p, s)
		return nil
	default:
		return fmt.Errorf("%w: frame of type %d on the control stream", wire.ErrMalformed, f.Type)
	}
}

// hello takes what the peer says of itself, first come first served.
func (p *peer) hello(h wire.Hello) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.helloed:
	default:
		p.theirs = h
		close(p.helloed)
		go p.b.supersede(h)
	}
}

// supersede ends the connections of earlier runs of a peer's bridge. Their sessions
// may wait for a link that nobody will bring back.
func (b *Bridge) supersede(h wire.Hello) {
	b.mu.Lock()
	peers := slices.Clone(b.peers)
	b.mu.Unlock()
	for _, p := range peers {
		p.mu.Lock()
		old := p.theirs.Name == h.Name && p.theirs.Instance != h.Instance && p.theirs.Version != 0
		p.mu.Unlock()
		if old {
			p.abandon()
		}
	}
}

// abandon ends all connections of a peer.
func (p *peer) abandon() {
	p.mu.Lock()
	joints := slices.Collect(maps.Keys(p.joints))
	p.mu.Unlock()
	for _, j := range joints {
		j.fail(errors.New("the peer's bridge was restarted"))
	}
}

// answerControl tells the peer what sockets there are.
func (p *peer) answerControl(ctx context.Context, st *session.Stream) {
	defer st.Close()
	h, err := wire.ParseHello(st.Header())
	if err != nil {
		st.Reset(err)
		return
	}
	p.hello(h)
	if _, err := st.Write(wire.AppendFrame(nil, wire.FrameHello, p.b.hello.Encode())); err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	prefixes := make(chan []string, 1)
	go func() {
		defer cancel()
		err := readFrames(st, func(f wire.Frame) error {
			if f.Type != wire.FrameWatch {
				return fmt.Errorf("%w: frame of type %d on the control stream", wire.ErrMalformed, f.Type)
			}
			w, err := wire.ParseWatch(f.Payload)
			if err != nil {
				return err
			}
			select {
			case prefixes <- w.Prefixes:
			case <-ctx.Done():
			}
			return ctx.Err()
		})
		if errors.Is(err, wire.ErrMalformed) {
			st.Reset(err)
		}
	}()
	if err := p.tell(ctx, st, prefixes); err != nil && ctx.Err() == nil {
		p.b.log.Warn("bridge: watch sockets for the peer", "error", err)
		st.Reset(err)
	}
}

// tell sends what is below the prefixes, and again what has changed.
func (p *peer) tell(ctx context.Context, st *session.Stream, prefixes <-chan []string) error {
	w, err := newWatcher()
	if err != nil {
		return err
	}
	defer w.close()
	var watched []string
	told := make(map[string]wire.Sockets)
	for {
		for _, prefix := range watched {
			now := w.look(p.b.serveRules(), prefix)
			before, ok := told[prefix]
			if ok && before.Problem == now.Problem && slices.Equal(before.List, now.List) {
				continue
			}
			told[prefix] = now
			if _, err := st.Write(wire.AppendFrame(nil, wire.FrameSockets, now.Encode())); err != nil {
				return err
			}
		}
		w.timer.Reset(lookInterval)
		select {
		case <-ctx.Done():
			return nil
		case watched = <-prefixes:
			clear(told)
		case <-w.signs:
		case <-w.timer.C:
		}
	}
}

// update takes what the peer has below a prefix.
func (b *Bridge) update(p *peer, s wire.Sockets) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current != p || b.closed {
		return
	}
	for _, x := range b.connect {
		if x.rule.Peer() == s.Prefix {
			x.update(s)
		}
	}
}

// servedBelow returns the directories or sockets to look at for a prefix, each with
// what is served at or below it.
func servedBelow(rules []policy.Serve, prefix string) []string {
	if _, _, ok := policy.Allowed(rules, prefix); ok {
		return []string{prefix}
	}
	var paths []string
	for _, r := range rules {
		if rel, ok := policy.Below(r.Path, prefix); ok && rel != "" {
			paths = append(paths, r.Path)
		}
	}
	return paths
}
