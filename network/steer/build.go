// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package steer

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// What a program returns; see linux/pkt_cls.h.
const (
	actOK   = 0
	actShot = 2
)

// Offsets in struct __sk_buff and struct bpf_sock; see linux/bpf.h.
const (
	skbLen         = 0
	skbVLANPresent = 20
	sockDstPort    = 48
)

// Offsets in a frame, in bytes.
const (
	ethSource  = 6
	ethType    = 12
	ethLen     = 14
	arpOp      = ethLen + 6
	arpSHA     = ethLen + 8
	arpSPA     = ethLen + 14
	arpTPA     = ethLen + 24
	arpLen     = ethLen + 28
	ip4Frag    = ethLen + 6
	ip4Proto   = ethLen + 9
	ip4Source  = ethLen + 12
	ip4Len     = ethLen + 20
	ip6PayLen  = ethLen + 4
	ip6Next    = ethLen + 6
	ip6Source  = ethLen + 8
	ip6Len     = ethLen + 40
	icmp6Type  = ip6Len
	ndTarget   = ip6Len + 8
	ndOption   = ip6Len + 24
	ndOptionLL = ndOption + 2
)

// Ethernet types and protocol numbers, as IANA has them.
const (
	typeIP4 = 0x0800
	typeARP = 0x0806
	typeIP6 = 0x86dd

	protoHopByHop = 0
	protoTCP      = 6
	protoUDP      = 17
	protoRouting  = 43
	protoICMP6    = 58
	protoDestOpts = 60

	icmp6RouterAdvertisement    = 134
	icmp6NeighbourSolicitation  = 135
	icmp6NeighbourAdvertisement = 136
	icmp6Redirect               = 137
)

// builder collects instructions. Register 6 holds the context throughout, as
// loads from the frame want it.
type builder struct {
	ins  asm.Instructions
	next string // label of the next instruction
	n    int
}

func newBuilder() *builder {
	b := &builder{}
	b.add(asm.Mov.Reg(asm.R6, asm.R1))
	return b
}

func (b *builder) add(ins ...asm.Instruction) {
	for _, i := range ins {
		if b.next != "" {
			i = i.WithSymbol(b.next)
			b.next = ""
		}
		b.ins = append(b.ins, i)
	}
}

// label returns a name that no instruction has yet.
func (b *builder) label() string {
	b.n++
	return fmt.Sprintf("l%d", b.n)
}

// place gives the next instruction the name.
func (b *builder) place(label string) {
	if b.next != "" { // one instruction has one name
		b.add(asm.Mov.Reg(asm.R6, asm.R6))
	}
	b.next = label
}

// needLen jumps to otherwise if the frame has fewer than n bytes. Loads beyond a
// frame's end would end the program with 0, which lets the frame pass.
func (b *builder) needLen(n int32, otherwise string) {
	b.add(asm.LoadMem(asm.R0, asm.R6, skbLen, asm.Word), asm.JLT.Imm(asm.R0, n, otherwise))
}

// load loads a field of the frame into R0, in the machine's order. It changes
// registers 1 to 5.
func (b *builder) load(offset int32, size asm.Size) { b.add(asm.LoadAbs(offset, size)) }

// unless jumps if the field is not the value.
func (b *builder) unless(offset int32, size asm.Size, value uint32, label string) {
	b.load(offset, size)
	b.add(asm.JNE.Imm32(asm.R0, int32(value), label))
}

// when jumps if the field is the value.
func (b *builder) when(offset int32, size asm.Size, value uint32, label string) {
	b.load(offset, size)
	b.add(asm.JEq.Imm32(asm.R0, int32(value), label))
}

// unlessBytes jumps if the field is not value, of an even length.
func (b *builder) unlessBytes(offset int32, value []byte, label string) {
	for len(value) > 0 {
		n := 2
		size := asm.Half
		if len(value) >= 4 {
			n, size = 4, asm.Word
		}
		var v uint32
		for _, c := range value[:n] {
			v = v<<8 | uint32(c)
		}
		b.unless(offset, size, v, label)
		offset += int32(n)
		value = value[n:]
	}
}

// verdict ends the program.
func (b *builder) verdict(v int32) { b.add(asm.Mov.Imm(asm.R0, v), asm.Return()) }

// redirect ends the program by sending the frame out of a device.
func (b *builder) redirect(index int) {
	b.add(
		asm.Mov.Imm(asm.R1, int32(index)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
	)
}

func (b *builder) program(name string) *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{Name: name, Type: ebpf.SchedCLS, Instructions: b.ins, License: "Apache-2.0"}
}
