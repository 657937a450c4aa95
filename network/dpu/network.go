// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/container-offload/offload/network/carrier"
	"github.com/container-offload/offload/network/dns"
	"github.com/container-offload/offload/network/rtnl"
	"github.com/container-offload/offload/network/twin"
	"github.com/container-offload/offload/network/wire"
)

const (
	// replyTimeout bounds how long the HOST may take to make or change a twin.
	replyTimeout = 30 * time.Second
	// retryAfter is the pause after a change that could not be taken over.
	retryAfter = time.Second
	// reportPause is the least time between two reports of the HOST that are
	// looked at. Of those between, only the last counts.
	reportPause = 50 * time.Millisecond
	// maxQueries bounds the DNS queries and connections that are being answered.
	maxQueries = 256
)

// Options are what a [Network] is made of.
type Options struct {
	// Name names the namespace to the HOST.
	Name string
	// NS is the namespace. The network closes it.
	NS *os.File
	// Open opens a stream to the HOST with the given header.
	Open func(ctx context.Context, header []byte) (net.Conn, error)
	// Carrier carries the frames.
	Carrier carrier.Carrier
	// Follow tells that the container may change its interfaces (it has
	// CAP_NET_ADMIN): the namespace here then follows.
	Follow bool
	Logger *slog.Logger
}

// Network is a namespace of the DPU that has a twin on the HOST. Its methods may
// be called concurrently.
type Network struct {
	o       Options
	watcher *rtnl.Watcher
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	queries chan struct{}

	mu      sync.Mutex // held while the twin is changed
	control *control   // nil until there is something to tell
	last    *twin.Namespace
	ports   map[uint32]*joined
	closed  bool
	// lost is when the HOST has last ended the twin, complaint what was last
	// said of its reports: it may do either as often as it likes.
	lost      time.Time
	complaint string
}

// Join makes the twin of a namespace, and returns once frames can flow. From
// then on the twin follows the namespace until Close.
func Join(ctx context.Context, o Options) (*Network, error) {
	n := &Network{o: o, last: &twin.Namespace{}, ports: map[uint32]*joined{}, queries: make(chan struct{}, maxQueries)}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	var err error
	// Watched first: no change falls between.
	if n.watcher, err = rtnl.Watch(o.NS, rtnl.All); err != nil {
		n.Close()
		return nil, fmt.Errorf("join network %s: %w", o.Name, err)
	}
	if err := n.sync(ctx); err != nil {
		n.Close()
		return nil, fmt.Errorf("join network %s: %w", o.Name, err)
	}
	n.wg.Go(n.follow)
	return n, nil
}

// Close parts the namespace from its twin, which goes away.
func (n *Network) Close() {
	n.cancel()
	if n.watcher != nil {
		n.watcher.Close()
	}
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	n.closed = true
	if n.control != nil {
		n.control.close()
	}
	for id, p := range n.ports {
		p.close()
		delete(n.ports, id)
	}
	n.mu.Unlock()
	n.wg.Wait()
	n.o.NS.Close()
}

// follow takes changes of the namespace over to the twin.
func (n *Network) follow() {
	for {
		err := n.watcher.Wait()
		if n.ctx.Err() != nil {
			return
		}
		if err != nil {
			n.o.Logger.Error("watch network", "network", n.o.Name, "error", err)
			return
		}
		n.syncUntilDone()
	}
}

// syncUntilDone makes the twin what the namespace is, however often that fails.
func (n *Network) syncUntilDone() {
	for {
		err := n.sync(n.ctx)
		if err == nil || n.ctx.Err() != nil {
			return
		}
		n.o.Logger.Warn("change network", "network", n.o.Name, "error", err)
		n.pause(retryAfter)
	}
}

// sync makes the twin what the namespace is.
func (n *Network) sync(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return net.ErrClosed
	}
	n.forgetLost()
	known := map[uint32]bool{}
	for _, i := range n.last.Interfaces {
		known[i.ID] = true
	}
	now, err := rtnl.Describe(n.o.NS, known)
	if err != nil {
		return err
	}
	if now.Equal(n.last) || n.control == nil && now.Bare() {
		return nil
	}
	n.dropGone(now)
	fresh, offers, err := n.offer(ctx, now)
	if err == nil {
		err = n.tell(ctx, now, fresh, offers)
	}
	if err != nil {
		for id := range fresh {
			n.ports[id].close()
			delete(n.ports, id)
		}
		return err
	}
	n.last = now
	return nil
}

// forgetLost begins anew if the HOST has ended the twin.
func (n *Network) forgetLost() {
	if n.control == nil || !n.control.ended() {
		return
	}
	n.control.close()
	n.control, n.last = nil, &twin.Namespace{}
	for id, p := range n.ports {
		p.close()
		delete(n.ports, id)
	}
}

// dropGone closes the ports of interfaces that are no more. An interface with a
// new name is a new one.
func (n *Network) dropGone(now *twin.Namespace) {
	for id, p := range n.ports {
		if i, ok := now.Find(id); !ok || i.Name != p.name {
			p.close()
			delete(n.ports, id)
		}
	}
}

// offer makes ports for the interfaces that have none, and tells those that have
// one who may send.
func (n *Network) offer(ctx context.Context, now *twin.Namespace) (fresh map[uint32]bool, offers map[uint32]carrier.Terms, err error) {
	fresh, offers = map[uint32]bool{}, map[uint32]carrier.Terms{}
	for _, i := range now.Interfaces {
		if i.Loopback {
			continue
		}
		if p, ok := n.ports[i.ID]; ok {
			if err := p.change(n.o.NS, now, i); err != nil {
				return fresh, nil, err
			}
			continue
		}
		p, terms, err := join(ctx, n.o.NS, n.o.Carrier, now, i)
		if err != nil {
			return fresh, nil, fmt.Errorf("interface %s: %w", i.Name, err)
		}
		n.ports[i.ID] = p
		fresh[i.ID], offers[i.ID] = true, terms
	}
	return fresh, offers, nil
}

// tell has the HOST change the twin and opens the streams of new ports.
func (n *Network) tell(ctx context.Context, now *twin.Namespace, fresh map[uint32]bool, offers map[uint32]carrier.Terms) error {
	if err := n.openControl(ctx); err != nil {
		return err
	}
	answers, err := n.control.update(ctx, wire.Update{Namespace: *now, Offers: offers, Follow: n.o.Follow})
	if err != nil {
		return err
	}
	for id := range fresh {
		p := n.ports[id]
		answer, ok := answers[id]
		if !ok {
			return fmt.Errorf("interface %s: the HOST has not answered", p.name)
		}
		if err := p.port.Agree(answer); err != nil {
			return fmt.Errorf("interface %s: %w", p.name, err)
		}
		if !p.port.Streams() {
			continue
		}
		st, err := n.o.Open(ctx, wire.Header{Network: n.o.Name, Kind: wire.Frames, Interface: id}.Encode())
		if err != nil {
			return fmt.Errorf("interface %s: %w", p.name, err)
		}
		p.stream = st
		n.wg.Go(func() {
			if err := p.port.Carry(st); err != nil {
				n.o.Logger.Debug("carry frames", "network", n.o.Name, "interface", p.name, "error", err)
			}
		})
	}
	return nil
}

// openControl opens the control stream unless it is open.
func (n *Network) openControl(ctx context.Context) error {
	if n.control != nil {
		return nil
	}
	st, err := n.o.Open(ctx, wire.Header{Network: n.o.Name, Kind: wire.Control}.Encode())
	if err != nil {
		return err
	}
	c := newControl(st)
	n.control = c
	n.wg.Go(func() {
		err := c.read()
		if n.ctx.Err() == nil {
			n.o.Logger.Warn("lost the twin on the HOST", "network", n.o.Name, "error", err)
			n.calmDown()
			n.syncUntilDone()
		}
	})
	n.wg.Go(func() {
		for {
			select {
			case r := <-c.reports:
				n.takeOver(r)
			case <-c.done:
				return
			}
			n.pause(reportPause)
		}
	})
	return nil
}

// calmDown waits if the twin has been lost a moment ago too.
func (n *Network) calmDown() {
	n.mu.Lock()
	soon := time.Since(n.lost) < 2*retryAfter
	n.mu.Unlock()
	if soon {
		n.pause(retryAfter)
	}
	n.mu.Lock()
	n.lost = time.Now()
	n.mu.Unlock()
}

// pause waits, or until the network is closed.
func (n *Network) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-n.ctx.Done():
	case <-t.C:
	}
}

// AnswerDNS serves a stream by which the HOST asks the namespace's DNS server.
func (n *Network) AnswerDNS(kind wire.Kind, stream net.Conn) error {
	select {
	case n.queries <- struct{}{}:
		defer func() { <-n.queries }()
	default:
		stream.Close()
		return errors.New("too many DNS queries at once")
	}
	if kind == wire.DNSStream {
		return dns.AnswerStream(n.o.NS, stream)
	}
	return dns.AnswerDatagram(n.o.NS, stream)
}
