// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package steer

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// actRedirect is what bpf_redirect makes a program return.
const actRedirect = 7

var (
	ours   = [6]byte{2, 0x42, 0xac, 17, 0, 2}
	theirs = [6]byte{2, 0x42, 0xac, 17, 0, 9}
	all    = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	sender = Sender{MAC: ours, Addresses: []netip.Addr{
		netip.MustParseAddr("172.17.0.2"), netip.MustParseAddr("10.1.2.3"),
		netip.MustParseAddr("fd00::2"), netip.MustParseAddr("fe80::42:acff:fe11:2"),
	}}
)

func ether(src [6]byte, kind uint16, rest ...[]byte) []byte {
	b := append(slices.Clone(all[:]), src[:]...)
	b = binary.BigEndian.AppendUint16(b, kind)
	return append(b, slices.Concat(rest...)...)
}

func ip4(src string, proto byte, payload ...byte) []byte {
	b := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, proto, 0, 0}
	b = append(b, netip.MustParseAddr(src).AsSlice()...)
	b = append(b, 172, 17, 0, 1)
	return append(b, payload...)
}

func arp(op uint16, sha [6]byte, spa string) []byte { return arpFor(op, sha, spa, "0.0.0.1") }

func arpFor(op uint16, sha [6]byte, spa, tpa string) []byte {
	b := []byte{0, 1, 8, 0, 6, 4}
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(b, sha[:]...)
	b = append(b, netip.MustParseAddr(spa).AsSlice()...)
	b = append(b, make([]byte, 6)...)
	return append(b, netip.MustParseAddr(tpa).AsSlice()...)
}

func ip6(src string, next byte, payload []byte) []byte {
	b := []byte{0x60, 0, 0, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	b = append(b, next, 255)
	b = append(b, netip.MustParseAddr(src).AsSlice()...)
	b = append(b, netip.MustParseAddr("ff02::1").AsSlice()...)
	return append(b, payload...)
}

func nd(kind byte, target string, options ...byte) []byte {
	b := []byte{kind, 0, 0, 0, 0, 0, 0, 0}
	b = append(b, netip.MustParseAddr(target).AsSlice()...)
	return append(b, options...)
}

func option(kind byte, mac [6]byte) []byte { return append([]byte{kind, 1}, mac[:]...) }

func load(t testing.TB, spec *ebpf.ProgramSpec) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(spec)
	require.NoError(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

func run(t testing.TB, p *ebpf.Program, frame []byte) uint32 {
	t.Helper()
	ret, err := p.Run(&ebpf.RunOptions{Data: frame})
	require.NoError(t, err)
	return ret
}

func TestOutward(t *testing.T) {
	ports := make([]byte, 8)
	tcp6 := make([]byte, 20)
	for _, c := range []struct {
		name  string
		frame []byte
		pass  bool
	}{
		{"IPv4", ether(ours, typeIP4, ip4("172.17.0.2", 6, ports...)), true},
		{"IPv4, second address", ether(ours, typeIP4, ip4("10.1.2.3", 17, ports...)), true},
		{"IPv4 of another", ether(ours, typeIP4, ip4("172.17.0.9", 6, ports...)), false},
		{"IPv4 of nobody", ether(ours, typeIP4, ip4("0.0.0.0", 17, ports...)), false},
		{"MAC of another", ether(theirs, typeIP4, ip4("172.17.0.2", 6, ports...)), false},
		{"ARP", ether(ours, typeARP, arp(1, ours, "172.17.0.2")), true},
		{"ARP probe", ether(ours, typeARP, arp(1, ours, "0.0.0.0")), true},
		{"ARP answer for another", ether(ours, typeARP, arp(2, ours, "172.17.0.1")), false},
		{"ARP with the MAC of another", ether(ours, typeARP, arp(2, theirs, "172.17.0.2")), false},
		{"ARP cut short", ether(ours, typeARP, arp(1, ours, "172.17.0.2")[:27]), false},
		{"IPv6", ether(ours, typeIP6, ip6("fd00::2", 6, tcp6)), true},
		{"IPv6 link-local", ether(ours, typeIP6, ip6("fe80::42:acff:fe11:2", 17, tcp6)), true},
		{"IPv6 of another", ether(ours, typeIP6, ip6("fd00::3", 6, tcp6)), false},
		{"IPv6 of nobody", ether(ours, typeIP6, ip6("::", 6, tcp6)), false},
		{"IPv6 fragment", ether(ours, typeIP6, ip6("fd00::2", 44, tcp6)), true},
		{"IPv6 with a routing header", ether(ours, typeIP6, ip6("fd00::2", 43, tcp6)), false},
		{"IPv6 with destination options", ether(ours, typeIP6, ip6("fd00::2", 60, tcp6)), false},
		{"echo request", ether(ours, typeIP6, ip6("fd00::2", 58, append([]byte{128}, tcp6...))), true},
		{"solicitation", ether(ours, typeIP6, ip6("fd00::2", 58, nd(135, "fd00::1", option(1, ours)...))), true},
		{"solicitation with the MAC of another", ether(ours, typeIP6, ip6("fd00::2", 58, nd(135, "fd00::1", option(1, theirs)...))), false},
		{"solicitation with two options", ether(ours, typeIP6, ip6("fd00::2", 58, nd(135, "fd00::1", slices.Concat(option(1, ours), option(1, theirs))...))), false},
		{"duplicate address detection", ether(ours, typeIP6, ip6("::", 58, nd(135, "fd00::2", option(14, theirs)...))), true},
		{"advertisement", ether(ours, typeIP6, ip6("fd00::2", 58, nd(136, "fd00::2", option(2, ours)...))), true},
		{"advertisement for another", ether(ours, typeIP6, ip6("fd00::2", 58, nd(136, "fd00::1", option(2, ours)...))), false},
		{"advertisement with the MAC of another", ether(ours, typeIP6, ip6("fd00::2", 58, nd(136, "fd00::2", option(2, theirs)...))), false},
		{"advertisement of nobody", ether(ours, typeIP6, ip6("::", 58, nd(136, "fd00::2", option(2, ours)...))), false},
		{"router advertisement", ether(ours, typeIP6, ip6("fe80::42:acff:fe11:2", 58, nd(134, "::"))), false},
		{"redirect", ether(ours, typeIP6, ip6("fd00::2", 58, nd(137, "fd00::2"))), false},
		{"multicast report", ether(ours, typeIP6, ip6("::", 0, []byte{58, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0, 0, 0, 0, 0})), true},
		{"advertisement behind a header", ether(ours, typeIP6, ip6("fd00::2", 0, append([]byte{58, 0, 5, 2, 0, 0, 1, 0}, nd(136, "fd00::1")...))), false},
		{"VLAN tag", ether(ours, 0x8100, []byte{0, 5, 8, 0}, ip4("172.17.0.2", 6, ports...)), false},
		{"spanning tree", ether(ours, 38, make([]byte, 38)), false},
		{"link discovery", ether(ours, 0x88cc, make([]byte, 40)), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := uint32(actShot)
			if c.pass {
				want = actRedirect
			}
			require.Equal(t, want, run(t, load(t, Outward(1, sender)), c.frame))
		})
	}
}

func TestOutwardOfASenderWithoutAddresses(t *testing.T) {
	p := load(t, Outward(1, Sender{MAC: ours}))
	require.EqualValues(t, actShot, run(t, p, ether(ours, typeIP4, ip4("172.17.0.2", 6, make([]byte, 8)...))))
	require.EqualValues(t, actRedirect, run(t, p, ether(ours, typeARP, arp(1, ours, "0.0.0.0"))))
}

func TestOutwardOfManyAddresses(t *testing.T) {
	s := Sender{MAC: ours}
	a := netip.MustParseAddr("fd00::1")
	for range MaxAddresses {
		s.Addresses = append(s.Addresses, a)
		a = a.Next()
	}
	p := load(t, Outward(1, s))
	load(t, Inward(1, s))
	last := s.Addresses[len(s.Addresses)-1].String()
	require.EqualValues(t, actRedirect, run(t, p, ether(ours, typeIP6, ip6(last, 6, make([]byte, 20)))))
}

func TestInward(t *testing.T) {
	ports := make([]byte, 8)
	for _, c := range []struct {
		name  string
		frame []byte
		want  uint32
	}{
		{"TCP", ether(theirs, typeIP4, ip4("172.17.0.1", 6, make([]byte, 20)...)), actRedirect},
		{"UDP", ether(theirs, typeIP4, ip4("172.17.0.1", 17, ports...)), actRedirect},
		{"ICMP", ether(theirs, typeIP4, ip4("172.17.0.1", 1, ports...)), actRedirect},
		{"no ports", ether(theirs, typeIP4, ip4("172.17.0.1", 17)), actRedirect},
		{"ARP request", ether(theirs, typeARP, arpFor(1, theirs, "172.17.0.1", "172.17.0.2")), actRedirect},
		{"ARP request for the second address", ether(theirs, typeARP, arpFor(1, theirs, "10.1.2.1", "10.1.2.3")), actRedirect},
		{"ARP request for another", ether(theirs, typeARP, arpFor(1, theirs, "172.17.0.1", "172.17.0.3")), actShot},
		{"ARP probe for another", ether(theirs, typeARP, arpFor(1, theirs, "0.0.0.0", "172.17.0.3")), actShot},
		{"ARP probe", ether(theirs, typeARP, arpFor(1, theirs, "0.0.0.0", "172.17.0.2")), actRedirect},
		{"ARP announcement", ether(theirs, typeARP, arpFor(1, theirs, "172.17.0.3", "172.17.0.3")), actRedirect},
		{"ARP cut short", ether(theirs, typeARP, arpFor(1, theirs, "172.17.0.1", "172.17.0.2")[:27]), actShot},
		{"reverse ARP", ether(theirs, typeARP, arpFor(3, theirs, "172.17.0.1", "172.17.0.3")), actRedirect},
		{"IPv6", ether(theirs, typeIP6, ip6("fd00::1", 6, make([]byte, 20))), actRedirect},
		{"solicitation", ether(theirs, typeIP6, ip6("fd00::1", 58, nd(135, "fd00::2"))), actRedirect},
		{"other", ether(theirs, 0x88b5, ports), actRedirect},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, run(t, load(t, Inward(1, sender)), c.frame))
		})
	}
}

func TestInwardOfManyAddresses(t *testing.T) {
	s := Sender{MAC: ours}
	a := netip.MustParseAddr("10.9.0.1")
	for range MaxAddresses {
		s.Addresses = append(s.Addresses, a)
		a = a.Next()
	}
	p := load(t, Inward(1, s))
	last := s.Addresses[len(s.Addresses)-1].String()
	require.EqualValues(t, actRedirect, run(t, p, ether(theirs, typeARP, arpFor(1, theirs, "10.9.5.5", last))))
	require.EqualValues(t, actShot, run(t, p, ether(theirs, typeARP, arpFor(1, theirs, "10.9.5.5", a.String()))))
}

func FuzzOutward(f *testing.F) {
	f.Add(ether(ours, typeIP4, ip4("172.17.0.2", 6, 0, 0, 0, 0)))
	f.Add(ether(ours, typeARP, arp(2, ours, "172.17.0.2")))
	f.Add(ether(ours, typeIP6, ip6("fd00::2", 58, nd(136, "fd00::2", option(2, ours)...))))
	p := load(f, Outward(1, sender))
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < 14 || len(frame) > 2000 {
			return
		}
		got, err := p.Run(&ebpf.RunOptions{Data: frame})
		if errors.Is(err, unix.EINVAL) {
			return // the kernel tries no program on a frame that ends in its headers
		}
		require.NoError(t, err)
		if got == actRedirect && [6]byte(frame[6:12]) != ours {
			t.Fatal("a frame with the MAC of another passed")
		}
		if got != actRedirect && got != actShot {
			t.Fatalf("verdict %d", got)
		}
	})
}
