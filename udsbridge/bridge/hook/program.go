// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// Rule leads paths at or below From to the same below To. Both are absolute and
// clean.
type Rule struct{ From, To string }

const (
	// pathMax is the size of sun_path in struct sockaddr_un.
	pathMax = 108
	// familySize is the size of sun_family before it.
	familySize = 2
)

// Places on the BPF stack, whose frame has 512 bytes. Paths begin at a multiple of 8
// so that they can be compared 8 bytes at a time.
const (
	inPath  = -128
	inAddr  = inPath - familySize
	inZero  = inPath - 8 // where zeroing begins
	outPath = -256
)

// kernel is what the running kernel says of itself: ids of functions and offsets of
// fields, in bytes.
type kernel struct {
	castContext, setPath      int64
	addrOffset, addrLenOffset int16
}

// assemble makes the program. If reverse, it leads back: from To to From.
func assemble(k kernel, rules []Rule, reverse bool) asm.Instructions {
	p := asm.Instructions{
		call(k.castContext), // r0 = the context as the kernel has it
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.LoadMem(asm.R8, asm.R7, k.addrLenOffset, asm.Word),
		asm.JGT.Imm(asm.R8, familySize+pathMax, "out"),
		asm.JLE.Imm(asm.R8, familySize+1, "out"),
	}
	p = append(p, asm.Mov.Imm(asm.R1, 0))
	for off := inZero; off < inPath+pathMax+4; off += 8 {
		p = append(p, asm.StoreMem(asm.R10, int16(off), asm.R1, asm.DWord))
	}
	p = append(p,
		asm.Mov.Reg(asm.R1, asm.R10),
		asm.Add.Imm(asm.R1, inAddr),
		asm.Mov.Reg(asm.R2, asm.R8),
		asm.LoadMem(asm.R3, asm.R7, k.addrOffset, asm.DWord),
		asm.FnProbeReadKernel.Call(),
		asm.JNE.Imm(asm.R0, 0, "out"),
	)
	for i, r := range rules {
		if reverse {
			r.From, r.To = r.To, r.From
		}
		p = append(p, r.assemble(k, i)...)
	}
	return append(p,
		asm.Mov.Imm(asm.R0, 1).WithSymbol("out"),
		asm.Return(),
	)
}

// assemble makes what one rule does: if the path is From or goes on with a slash,
// set To and the rest.
func (r Rule) assemble(k kernel, n int) asm.Instructions {
	next := fmt.Sprintf("after%d", n)
	match := fmt.Sprintf("match%d", n)
	p := compare(r.From, next)
	p = append(p,
		asm.LoadMem(asm.R1, asm.R10, int16(inPath+len(r.From)), asm.Byte),
		asm.JEq.Imm(asm.R1, 0, match),
		asm.JNE.Imm(asm.R1, '/', next),
	)
	// What would not fit stays as it is, and is not found.
	for i := pathMax - 1 - len(r.To) + len(r.From); i < pathMax; i++ {
		p = append(p,
			asm.LoadMem(asm.R1, asm.R10, int16(inPath+i), asm.Byte),
			asm.JNE.Imm(asm.R1, 0, next),
		)
	}
	p = append(p, store(r.To, match)...)
	for i := len(r.To); i < pathMax; i++ {
		from := i - len(r.To) + len(r.From)
		if from >= pathMax {
			p = append(p, asm.StoreImm(asm.R10, int16(outPath+i), 0, asm.Byte))
			continue
		}
		p = append(p,
			asm.LoadMem(asm.R1, asm.R10, int16(inPath+from), asm.Byte),
			asm.StoreMem(asm.R10, int16(outPath+i), asm.R1, asm.Byte),
		)
	}
	return append(p,
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, outPath),
		asm.Mov.Imm(asm.R3, pathMax),
		call(k.setPath),
		asm.Ja.Label("out"),
		asm.Mov.Imm(asm.R1, 0).WithSymbol(next), // somewhere to go on
	)
}

// compare jumps to next unless the path begins with text.
func compare(text, next string) asm.Instructions {
	var p asm.Instructions
	i := 0
	for ; i+8 <= len(text); i += 8 {
		p = append(p,
			asm.LoadMem(asm.R1, asm.R10, int16(inPath+i), asm.DWord),
			asm.LoadImm(asm.R2, int64(binary.NativeEndian.Uint64([]byte(text[i:i+8]))), asm.DWord),
			asm.JNE.Reg(asm.R1, asm.R2, next),
		)
	}
	for ; i < len(text); i++ {
		p = append(p,
			asm.LoadMem(asm.R1, asm.R10, int16(inPath+i), asm.Byte),
			asm.JNE.Imm(asm.R1, int32(text[i]), next),
		)
	}
	return p
}

// store writes text where the new path is made.
func store(text, label string) asm.Instructions {
	var p asm.Instructions
	for i := range len(text) {
		p = append(p, asm.StoreImm(asm.R10, int16(outPath+i), int64(text[i]), asm.Byte))
	}
	p[0] = p[0].WithSymbol(label)
	return p
}

// call calls a function of the kernel by its id.
func call(id int64) asm.Instruction {
	return asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Src: asm.PseudoKfuncCall, Constant: id}
}
