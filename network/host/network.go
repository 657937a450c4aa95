// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"github.com/container-offload/offload/network/carrier"
	"github.com/container-offload/offload/network/dns"
	"github.com/container-offload/offload/network/rtnl"
	"github.com/container-offload/offload/network/twin"
	"github.com/container-offload/offload/network/wire"
)

// network is one twin.
type network struct {
	name string
	ns   *os.File
	conn net.Conn
	o    Options

	write sync.Mutex // held while a message is written

	mu      sync.Mutex
	current *twin.Namespace
	ports   map[uint32]carrier.Port
	taken   map[uint32]bool // ports that a stream has
	relay   *dns.Relay
	watcher *rtnl.Watcher
	wg      sync.WaitGroup
}

func newNetwork(name string, ns *os.File, conn net.Conn, o Options) *network {
	return &network{
		name: name, ns: ns, conn: conn, o: o,
		current: &twin.Namespace{}, ports: map[uint32]carrier.Port{}, taken: map[uint32]bool{},
	}
}

// serve makes the changes that the DPU asks for until the stream ends.
func (n *network) serve() error {
	for {
		var u wire.Update
		err := wire.Read(n.conn, &u)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("network %s: %w", n.name, err)
		}
		reply := wire.Reply{Seq: u.Seq}
		if reply.Answers, err = n.apply(&u); err != nil {
			reply.Error = err.Error()
		}
		if err := n.send(wire.Message{Reply: &reply}); err != nil {
			return fmt.Errorf("network %s: %w", n.name, err)
		}
	}
}

func (n *network) send(m wire.Message) error {
	n.write.Lock()
	defer n.write.Unlock()
	return wire.Write(n.conn, m)
}

// apply turns the twin into what the update describes.
func (n *network) apply(u *wire.Update) (map[uint32]carrier.Terms, error) {
	if err := u.Namespace.Check(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	d := &devices{network: n, offers: u.Offers, answers: map[uint32]carrier.Terms{}}
	// An interface that comes with an offer is a new one: the DPU has given up
	// the port it may have had.
	for id := range u.Offers {
		if i, ok := n.current.Find(id); ok {
			n.current = n.current.Without(id)
			if err := d.Remove(i); err != nil {
				return nil, err
			}
		}
	}
	if err := rtnl.Apply(n.ns, twin.Plan(n.current, &u.Namespace), d); err != nil {
		return nil, err
	}
	n.current = &u.Namespace
	if err := n.resolver(u.Namespace.Resolver); err != nil {
		return nil, err
	}
	if u.Follow && n.watcher == nil {
		if err := n.watch(); err != nil {
			return nil, err
		}
	}
	return d.answers, nil
}

// resolver begins or ends to answer DNS queries.
func (n *network) resolver(wanted bool) (err error) {
	switch {
	case wanted && n.relay == nil:
		n.relay, err = dns.Start(n.ns, func(ctx context.Context, tcp bool) (net.Conn, error) {
			h := wire.Header{Network: n.name, Kind: wire.DNSDatagram}
			if tcp {
				h.Kind = wire.DNSStream
			}
			return n.o.Open(ctx, h.Encode())
		}, n.o.Logger)
	case !wanted && n.relay != nil:
		n.relay.Close()
		n.relay = nil
	}
	return err
}

// port hands the port of an interface to a stream that carries its frames.
func (n *network) port(id uint32) (carrier.Port, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p, ok := n.ports[id]
	if !ok || !p.Streams() || n.taken[id] {
		return nil, fmt.Errorf("no interface %d waits for a stream", id)
	}
	n.taken[id] = true
	return p, nil
}

// close removes the twin.
func (n *network) close() {
	n.mu.Lock()
	if n.watcher != nil {
		n.watcher.Close()
	}
	if n.relay != nil {
		n.relay.Close()
	}
	for id, p := range n.ports {
		p.Close()
		delete(n.ports, id)
	}
	n.mu.Unlock()
	n.wg.Wait()
	n.ns.Close()
}

// devices makes the interfaces of a twin; see [rtnl.Devices]. The network is
// locked.
type devices struct {
	*network
	offers, answers map[uint32]carrier.Terms
}

func (d *devices) Add(i twin.Interface) (int, error) {
	if p, ok := d.ports[i.ID]; ok { // an earlier attempt came this far
		return p.Index(), nil
	}
	offer, ok := d.offers[i.ID]
	if !ok {
		return 0, errors.New("the DPU has offered no carrier")
	}
	for _, c := range d.o.Carriers {
		if c.Name() != offer.Carrier {
			continue
		}
		p, answer, err := c.Accept(context.Background(), carrier.Place{NS: d.ns, Name: i.Name, MTU: i.MTU}, offer)
		if err != nil {
			return 0, err
		}
		d.ports[i.ID], d.answers[i.ID] = p, answer
		return p.Index(), nil
	}
	return 0, fmt.Errorf("carrier %q is not allowed by the configuration", offer.Carrier)
}

func (d *devices) Remove(i twin.Interface) error {
	p, ok := d.ports[i.ID]
	if !ok {
		return nil
	}
	delete(d.ports, i.ID)
	delete(d.taken, i.ID)
	return p.Close()
}

func (d *devices) Index(i twin.Interface) (int, bool) {
	p, ok := d.ports[i.ID]
	if !ok {
		return 0, false
	}
	return p.Index(), true
}
