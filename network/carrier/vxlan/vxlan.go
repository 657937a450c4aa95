// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package vxlan

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	nsfd "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/network/carrier"
	"github.com/container-offload/offload/network/netns"
)

// UDPPort is the port both machines take packets on, as IANA has it.
const UDPPort = 4789

const (
	// minVNI keeps clear of the low numbers that others on the machine like to
	// take: the port is shared.
	minVNI = 1 << 23
	maxVNI = 1<<24 - 1
	// attempts is how often another number is tried when one is taken.
	attempts = 8
)

// Options are what a carrier is made of.
type Options struct {
	// Peer is the HOST's address. On the HOST it is not used: the DPU's is in
	// its offer.
	Peer netip.Addr
	// Machine is the namespace whose network the packets take, nil for this
	// process's own.
	Machine *os.File
}

type vxlan struct{ o Options }

// New returns the carrier.
func New(o Options) carrier.Carrier { return vxlan{o} }

func (vxlan) Name() string { return carrier.VXLAN }

func (v vxlan) Offer(_ context.Context, p carrier.Place) (carrier.Port, carrier.Terms, error) {
	var err error
	for range attempts {
		vni := minVNI + rand.Uint32N(maxVNI-minVNI+1)
		var local netip.Addr
		var pt *port
		if local, pt, err = v.make(p, vni, v.o.Peer); err == nil {
			pt.peer = v.o.Peer
			return pt, carrier.Terms{Carrier: carrier.VXLAN, VNI: vni, Endpoint: netip.AddrPortFrom(local, UDPPort)}, nil
		}
		if !errors.Is(err, unix.EEXIST) {
			break
		}
	}
	return nil, carrier.Terms{}, err
}

func (v vxlan) Accept(_ context.Context, p carrier.Place, offer carrier.Terms) (carrier.Port, carrier.Terms, error) {
	if offer.VNI < minVNI || offer.VNI > maxVNI || !offer.Endpoint.IsValid() || offer.Endpoint.Port() != UDPPort {
		return nil, carrier.Terms{}, fmt.Errorf("impossible offer: vxlan %d of %s", offer.VNI, offer.Endpoint)
	}
	local, pt, err := v.make(p, offer.VNI, offer.Endpoint.Addr())
	if err != nil {
		return nil, carrier.Terms{}, err
	}
	return pt, carrier.Terms{Carrier: carrier.VXLAN, VNI: offer.VNI, Endpoint: netip.AddrPortFrom(local, UDPPort)}, nil
}

// make makes the device and returns the machine's own address towards the peer.
func (v vxlan) make(p carrier.Place, vni uint32, peer netip.Addr) (local netip.Addr, _ *port, err error) {
	pt := &port{ns: p.NS}
	err = v.onMachine(func() error {
		if local, err = towards(peer); err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.Namespace = p.Name, p.MTU, netlink.NsFd(p.NS.Fd())
		return netlink.LinkAdd(&netlink.Vxlan{
			LinkAttrs: attrs, VxlanId: int(vni), SrcAddr: local.AsSlice(), Group: peer.AsSlice(), Port: UDPPort, Learning: false,
		})
	})
	if err != nil {
		return local, nil, fmt.Errorf("make vxlan device %s: %w", p.Name, err)
	}
	if pt.index, err = indexOf(p); err != nil {
		return local, nil, fmt.Errorf("make vxlan device %s: %w", p.Name, err)
	}
	return local, pt, nil
}

func (v vxlan) onMachine(f func() error) error {
	if v.o.Machine == nil {
		return f()
	}
	return netns.Do(v.o.Machine, f)
}

// towards returns the address that this machine sends to peer from.
func towards(peer netip.Addr) (netip.Addr, error) {
	// Nothing is sent: connecting makes the kernel choose.
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(peer, UDPPort)))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find a way to %s: %w", peer, err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

func indexOf(p carrier.Place) (int, error) {
	h, err := netlink.NewHandleAt(nsfd.NsHandle(p.NS.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return 0, err
	}
	defer h.Close()
	l, err := h.LinkByName(p.Name)
	if err != nil {
		return 0, err
	}
	return l.Attrs().Index, nil
}

// port is one end of a VXLAN.
type port struct {
	ns    *os.File // the caller's, open as long as the port is
	index int
	peer  netip.Addr // on the DPU
}

func (p *port) Index() int           { return p.index }
func (p *port) Streams() bool        { return false }
func (p *port) Carry(net.Conn) error { return errors.New("vxlan carries frames in the kernel") }

// Agree makes sure that the HOST takes packets where it is known to be.
func (p *port) Agree(t carrier.Terms) error {
	if t.Endpoint != netip.AddrPortFrom(p.peer, UDPPort) {
		return fmt.Errorf("the HOST takes packets at %s, not at its link's address %s", t.Endpoint, p.peer)
	}
	return nil
}

func (p *port) Close() error {
	h, err := netlink.NewHandleAt(nsfd.NsHandle(p.ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	err = h.LinkDel(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: p.index}})
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
