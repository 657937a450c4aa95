// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"

	"github.com/container-offload/offload/network/carrier"
	"github.com/container-offload/offload/network/rtnl"
	"github.com/container-offload/offload/network/steer"
	"github.com/container-offload/offload/network/twin"
)

// joined is an interface with its carrier's port.
type joined struct {
	name   string
	port   carrier.Port
	joint  *steer.Joint
	stream net.Conn // nil until there is one
	mtu    int
}

// join makes a port for an interface of the namespace that looks as described,
// and joins both.
func join(ctx context.Context, ns *os.File, c carrier.Carrier, look *twin.Namespace, i twin.Interface) (_ *joined, _ carrier.Terms, err error) {
	name := fmt.Sprintf("%s%d", twin.CarrierPrefix, i.ID)
	port, terms, err := c.Offer(ctx, carrier.Place{NS: ns, Name: name, MTU: i.MTU})
	if err != nil {
		return nil, terms, err
	}
	p := &joined{name: i.Name, port: port, mtu: i.MTU}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	s, err := senderOf(look, i)
	if err != nil {
		return nil, terms, err
	}
	// Joined before it is up: no frame of this namespace's own gets out there.
	if p.joint, err = steer.Join(ns, int(i.ID), port.Index(), s); err != nil {
		return nil, terms, err
	}
	if err := rtnl.Quiet(ns, name, port.Index(), i.MTU); err != nil {
		return nil, terms, err
	}
	return p, terms, nil
}

// change takes over how the namespace and the interface in it have changed.
func (p *joined) change(ns *os.File, look *twin.Namespace, i twin.Interface) error {
	s, err := senderOf(look, i)
	if err != nil {
		return fmt.Errorf("interface %s: %w", i.Name, err)
	}
	if err := p.joint.SetSender(s); err != nil {
		return fmt.Errorf("interface %s: %w", i.Name, err)
	}
	if p.mtu != i.MTU {
		if err := rtnl.SetMTU(ns, p.port.Index(), i.MTU); err != nil {
			return fmt.Errorf("interface %s: %w", i.Name, err)
		}
		p.mtu = i.MTU
	}
	return nil
}

func (p *joined) close() {
	if p.joint != nil {
		p.joint.Close()
	}
	if p.stream != nil {
		p.stream.Close()
	}
	p.port.Close()
}

// senderOf returns whom frames of an interface may come from. A container with
// several networks answers through whichever its routes name, from the address
// that was asked: any address of the namespace may be the source. Those of the
// interface itself come first, and must all have room.
func senderOf(look *twin.Namespace, i twin.Interface) (steer.Sender, error) {
	mac, err := twin.ParseMAC(i.MAC)
	if err != nil {
		return steer.Sender{}, err
	}
	s := steer.Sender{MAC: mac}
	seen := map[netip.Addr]bool{}
	take := func(addresses []twin.Address, most int) {
		for _, a := range addresses {
			if addr := a.Prefix.Addr(); !seen[addr] && len(s.Addresses) < most {
				seen[addr] = true
				s.Addresses = append(s.Addresses, addr)
			}
		}
	}
	take(i.Addresses, math.MaxInt)
	for _, other := range look.Interfaces {
		take(other.Addresses, steer.MaxAddresses)
	}
	return s, nil
}
