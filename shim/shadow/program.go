// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package shadow

import (
	"bytes"
	"encoding/binary"
)

const (
	loadAddress = 0x400000
	elfHeader   = 64
	progHeader  = 56
)

// program returns a static ELF executable that reads one byte from standard
// input, starts over when a signal interrupts it, and exits with 0 at end of
// file. See elf(5) for the layout.
func program() []byte {
	var (
		b     bytes.Buffer
		start = uint64(elfHeader + progHeader)
		size  = start + uint64(len(code))
	)
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	for _, v := range []any{
		uint16(2), machine, uint32(1), // executable, machine, version
		loadAddress + start, uint64(elfHeader), uint64(0), // entry, program headers, no sections
		uint32(0), uint16(elfHeader), uint16(progHeader), uint16(1), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(5), // PT_LOAD, readable and executable
		uint64(0), uint64(loadAddress), uint64(loadAddress), size, size, uint64(0x10000),
	} {
		// Writing fixed-size integers to a bytes.Buffer cannot fail.
		_ = binary.Write(&b, binary.LittleEndian, v)
	}
	b.Write(code)
	return b.Bytes()
}
