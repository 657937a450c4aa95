// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package steer

import (
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// MaxAddresses bounds the addresses of a sender: jumps in a program are short.
const MaxAddresses = 256

// Sender is who the frames of a container may come from.
type Sender struct {
	MAC [6]byte
	// Addresses are its IPv4 and IPv6 addresses on whatever interface, up to
	// [MaxAddresses].
	Addresses []netip.Addr
}

// Outward returns the program for the carrier's device: port is the index of
// the interface. A frame passes if its source MAC is the sender's and it is
//
//   - IPv4 from one of the sender's addresses;
//   - ARP from the sender's MAC, for one of its addresses or for none (a probe);
//   - IPv6 from one of the sender's addresses or from none, where only a
//     neighbour solicitation and a multicast report may have none. Neighbour
//     discovery must name the sender's MAC in its one option, and may advertise
//     only the sender's addresses. What a router sends is dropped, and so are
//     extension headers behind which any of this could hide.
//
// All else is dropped: other protocols, VLAN tags, bridge and link control.
func Outward(port int, s Sender) *ebpf.ProgramSpec {
	b := newBuilder()
	b.add(
		asm.LoadMem(asm.R0, asm.R6, skbVLANPresent, asm.Word),
		asm.JNE.Imm(asm.R0, 0, "drop"),
	)
	b.needLen(ethLen, "drop")
	b.unlessBytes(ethSource, s.MAC[:], "drop")
	b.load(ethType, asm.Half)
	b.add(asm.JEq.Imm(asm.R0, typeARP, "arp"), asm.JEq.Imm(asm.R0, typeIP4, "ip4"), asm.JEq.Imm(asm.R0, typeIP6, "ip6"))
	b.add(asm.Ja.Label("drop"))

	b.place("arp")
	b.needLen(arpLen, "drop")
	b.unlessBytes(arpSHA, s.MAC[:], "drop")
	b.oneOf(arpSPA, append(s.ip4(), netip.IPv4Unspecified()), "redirect")
	b.add(asm.Ja.Label("drop"))

	b.place("ip4")
	b.needLen(ip4Len, "drop")
	b.oneOf(ip4Source, s.ip4(), "redirect")
	b.add(asm.Ja.Label("drop"))

	b.place("ip6")
	if len(s.ip6()) > 0 {
		b.ip6(s)
	} else { // without an address there is nothing to say
		b.add(asm.Ja.Label("drop"))
	}

	b.place("redirect")
	b.redirect(port)
	b.place("drop")
	b.verdict(actShot)
	return b.program("offload_outward")
}

// ip6 ends with a jump to redirect or drop.
func (b *builder) ip6(s Sender) {
	b.needLen(ip6Len, "drop")
	b.oneOf(ip6Source, s.ip6(), "from6")
	b.oneOf(ip6Source, []netip.Addr{netip.IPv6Unspecified()}, "nobody6")
	b.add(asm.Ja.Label("drop"))

	b.place("nobody6")
	b.when(ip6Next, asm.Byte, protoHopByHop, "hopbyhop")
	b.unless(ip6Next, asm.Byte, protoICMP6, "drop")
	b.needLen(ndOption, "drop")
	b.when(icmp6Type, asm.Byte, icmp6NeighbourSolicitation, "discovery")
	b.add(asm.Ja.Label("drop"))

	b.place("from6")
	b.load(ip6Next, asm.Byte)
	b.add(
		asm.JEq.Imm(asm.R0, protoHopByHop, "hopbyhop"),
		asm.JEq.Imm(asm.R0, protoRouting, "drop"),
		asm.JEq.Imm(asm.R0, protoDestOpts, "drop"),
		asm.JNE.Imm(asm.R0, protoICMP6, "redirect"),
	)
	b.needLen(ip6Len+4, "drop")
	b.load(icmp6Type, asm.Byte)
	b.add(
		asm.JEq.Imm(asm.R0, icmp6RouterAdvertisement, "drop"),
		asm.JEq.Imm(asm.R0, icmp6Redirect, "drop"),
		asm.JEq.Imm(asm.R0, icmp6NeighbourSolicitation, "discovery"),
		asm.JNE.Imm(asm.R0, icmp6NeighbourAdvertisement, "redirect"),
	)
	b.needLen(ndOption, "drop")
	b.oneOf(ndTarget, s.ip6(), "discovery")
	b.add(asm.Ja.Label("drop"))

	// One option at most, so that there is no second one to look for.
	b.place("discovery")
	b.load(ip6PayLen, asm.Half)
	b.add(asm.JEq.Imm(asm.R0, ndOption-ip6Len, "redirect"), asm.JNE.Imm(asm.R0, ndOption-ip6Len+8, "drop"))
	b.needLen(ndOption+8, "drop")
	b.when(ndOption, asm.Byte, 14, "redirect") // a nonce, see RFC 3971
	b.unlessBytes(ndOptionLL, s.MAC[:], "drop")
	b.add(asm.Ja.Label("redirect"))

	// A multicast report (RFC 3810, RFC 2710) has a router alert before it.
	b.place("hopbyhop")
	b.needLen(ip6Len+9, "drop")
	b.unless(ip6Len, asm.Byte, protoICMP6, "drop")
	b.unless(ip6Len+1, asm.Byte, 0, "drop")
	b.load(ip6Len+8, asm.Byte)
	b.add(
		asm.JEq.Imm(asm.R0, 131, "redirect"), asm.JEq.Imm(asm.R0, 132, "redirect"), asm.JEq.Imm(asm.R0, 143, "redirect"),
		asm.Ja.Label("drop"),
	)
}

// oneOf jumps if the field is one of the addresses.
func (b *builder) oneOf(offset int32, addresses []netip.Addr, label string) {
	for _, a := range addresses {
		other := b.label()
		b.unlessBytes(offset, a.AsSlice(), other)
		b.add(asm.Ja.Label(label))
		b.place(other)
	}
}

func (s Sender) ip4() (out []netip.Addr) {
	for _, a := range s.Addresses {
		if a.Is4() {
			out = append(out, a)
		}
	}
	return out
}

func (s Sender) ip6() (out []netip.Addr) {
	for _, a := range s.Addresses {
		if a.Is6() {
			out = append(out, a)
		}
	}
	return out
}
