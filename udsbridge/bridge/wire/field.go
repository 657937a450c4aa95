// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"math"
)

// writer appends fields.
type writer struct{ b []byte }

func (w *writer) number(n uint64) { w.b = binary.AppendUvarint(w.b, n) }

func (w *writer) text(s string) {
	w.number(uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *writer) flag(f bool) {
	var b byte
	if f {
		b = 1
	}
	w.b = append(w.b, b)
}

// reader takes fields. The first error sticks, and what is read after it is zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = malformed(format, args...)
	}
	r.b = nil
}

// number reads a number of at most limit.
func (r *reader) number(what string, limit uint64) uint64 {
	n, size := binary.Uvarint(r.b)
	switch {
	case r.err != nil:
		return 0
	case size <= 0:
		r.fail("%s is cut off or too long", what)
		return 0
	case n > limit:
		r.fail("%s is %d, more than %d", what, n, limit)
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) uint32(what string) uint32 { return uint32(r.number(what, math.MaxUint32)) }

// text reads a text of at most limit bytes.
func (r *reader) text(what string, limit int) string {
	n := int(r.number(what, uint64(limit)))
	if n > len(r.b) {
		r.fail("%s is cut off", what)
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) flag(what string) bool {
	if len(r.b) == 0 || r.b[0] > 1 {
		r.fail("%s is not 0 or 1", what)
		return false
	}
	f := r.b[0] == 1
	r.b = r.b[1:]
	return f
}

// end makes sure that nothing follows.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail("%d bytes too many", len(r.b))
	}
	return r.err
}
