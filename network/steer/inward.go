// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package steer

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Inward returns the program for the interface: device is the index of the
// carrier's device, and s who the container is.
//
//   - An answer of ARP or neighbour discovery goes to both: either side may
//     have asked, and both keep a table of their own.
//   - An ARP request for an address that is not the container's is dropped,
//     unless it announces its sender. On a network of many, each asks for each
//     with a frame to all: what only one can answer would cross to all. The
//     container could not answer it either, since Outward drops that.
//   - A segment or datagram for a connected socket of the DPU stays.
//   - All else goes to the container. A frame with a VLAN tag, which a carrier
//     would lose, is dropped.
func Inward(device int, s Sender) *ebpf.ProgramSpec {
	b := newBuilder()
	b.add(
		asm.LoadMem(asm.R0, asm.R6, skbVLANPresent, asm.Word),
		asm.JNE.Imm(asm.R0, 0, "drop"),
	)
	b.needLen(ethLen, "drop")
	b.load(ethType, asm.Half)
	b.add(asm.JEq.Imm(asm.R0, typeARP, "arp"), asm.JEq.Imm(asm.R0, typeIP4, "ip4"), asm.JEq.Imm(asm.R0, typeIP6, "ip6"))
	b.add(asm.Ja.Label("redirect"))

	b.place("arp")
	b.needLen(arpLen, "drop")
	b.when(arpOp, asm.Half, 2, "both")
	b.unless(arpOp, asm.Half, 1, "redirect")
	b.oneOf(arpTPA, s.ip4(), "redirect")
	b.load(arpSPA, asm.Word)
	b.add(asm.Mov.Reg(asm.R7, asm.R0))
	b.load(arpTPA, asm.Word)
	b.add(asm.JEq.Reg(asm.R0, asm.R7, "redirect"), asm.Ja.Label("drop"))

	b.place("ip4")
	b.needLen(ip4Len+8, "redirect")
	b.load(ip4Frag, asm.Half)
	b.add(asm.And.Imm(asm.R0, 0x1fff), asm.JNE.Imm(asm.R0, 0, "redirect")) // has no ports
	b.load(ethLen, asm.Byte)
	b.add(asm.And.Imm(asm.R0, 0x0f), asm.LSh.Imm(asm.R0, 2), asm.Mov.Reg(asm.R7, asm.R0)) // length of the header
	b.load(ip4Proto, asm.Byte)
	b.add(asm.Mov.Reg(asm.R8, asm.R0))
	b.copy(ip4Source, 8, 12)
	b.add(asm.Add.Imm(asm.R7, ethLen))
	b.copyAt(asm.R7, 4, 4)
	b.lookup(12)

	b.place("ip6")
	b.needLen(ip6Len+8, "redirect")
	b.load(ip6Next, asm.Byte)
	b.add(asm.Mov.Reg(asm.R8, asm.R0), asm.JNE.Imm(asm.R8, protoICMP6, "ports6"))
	b.when(icmp6Type, asm.Byte, icmp6NeighbourAdvertisement, "both")
	b.place("ports6")
	b.copy(ip6Source, 32, 36)
	b.copy(ip6Len, 4, 4)
	b.lookup(36)

	b.place("both")
	b.add(
		asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, int32(device)), asm.Mov.Imm(asm.R3, 0),
		asm.FnCloneRedirect.Call(),
	)
	b.verdict(actOK)
	b.place("redirect")
	b.redirect(device)
	b.place("drop")
	b.verdict(actShot)
	return b.program("offload_inward")
}

// copy copies n bytes of the frame to the stack, depth bytes below its top.
func (b *builder) copy(offset, n, depth int32) {
	b.add(asm.Mov.Imm(asm.R2, offset))
	b.copyFrom(n, depth)
}

func (b *builder) copyAt(offset asm.Register, n, depth int32) {
	b.add(asm.Mov.Reg(asm.R2, offset))
	b.copyFrom(n, depth)
}

func (b *builder) copyFrom(n, depth int32) {
	b.add(
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, -depth),
		asm.Mov.Imm(asm.R4, n),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "redirect"),
	)
}

// lookup ends the program: the frame stays if the DPU has a connected socket
// for the struct bpf_sock_tuple of the given size on top of the stack. R8 holds
// the protocol. A socket that only listens has no say: the container's own is
// meant.
func (b *builder) lookup(size int32) {
	call, found, pass := b.label(), b.label(), b.label()
	arguments := func() {
		b.add(
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -size),
			asm.Mov.Imm(asm.R3, size),
			asm.Mov.Imm(asm.R4, -1), // BPF_F_CURRENT_NETNS
			asm.Mov.Imm(asm.R5, 0),
		)
	}
	b.add(asm.JEq.Imm(asm.R8, protoUDP, call), asm.JNE.Imm(asm.R8, protoTCP, "redirect"))
	arguments()
	b.add(asm.FnSkLookupTcp.Call(), asm.Ja.Label(found))
	b.place(call)
	arguments()
	b.add(asm.FnSkLookupUdp.Call())
	b.place(found)
	b.add(
		asm.JEq.Imm(asm.R0, 0, "redirect"),
		asm.LoadMem(asm.R7, asm.R0, sockDstPort, asm.Half),
		asm.Mov.Reg(asm.R1, asm.R0),
		asm.FnSkRelease.Call(),
		asm.JNE.Imm(asm.R7, 0, pass),
		asm.Ja.Label("redirect"),
	)
	b.place(pass)
	b.verdict(actOK)
}
