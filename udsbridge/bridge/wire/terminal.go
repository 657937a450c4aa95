// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

// Terminal is the state of a terminal. The bits of the four flag words, the indices
// of the control characters and the speeds are those of Linux's generic termios
// (asm-generic/termbits.h), which x86-64, arm64 and riscv64 share.
type Terminal struct {
	Rows, Columns, XPixels, YPixels uint16
	Input, Output, Control, Local   uint32
	Line                            uint8
	Characters                      [19]byte
}

// Encode returns the payload of a FrameTerminal.
func (t Terminal) Encode() []byte {
	var w writer
	t.encode(&w)
	return w.b
}

func (t Terminal) encode(w *writer) {
	for _, n := range []uint16{t.Rows, t.Columns, t.XPixels, t.YPixels} {
		w.number(uint64(n))
	}
	for _, n := range []uint32{t.Input, t.Output, t.Control, t.Local} {
		w.number(uint64(n))
	}
	w.number(uint64(t.Line))
	w.b = append(w.b, t.Characters[:]...)
}

// ParseTerminal parses what Encode returns.
func ParseTerminal(b []byte) (Terminal, error) {
	r := reader{b: b}
	t := r.terminal()
	if err := r.end(); err != nil {
		return Terminal{}, err
	}
	return t, nil
}

func (r *reader) terminal() Terminal {
	var t Terminal
	for _, n := range []*uint16{&t.Rows, &t.Columns, &t.XPixels, &t.YPixels} {
		*n = uint16(r.number("size of terminal", 1<<16-1))
	}
	for _, n := range []*uint32{&t.Input, &t.Output, &t.Control, &t.Local} {
		*n = r.uint32("flags of terminal")
	}
	t.Line = uint8(r.number("line discipline", 255))
	if len(r.b) < len(t.Characters) {
		r.fail("control characters of terminal are cut off")
		return Terminal{}
	}
	r.b = r.b[copy(t.Characters[:], r.b):]
	return t
}
