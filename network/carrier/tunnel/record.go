// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
)

// Sizes of a record, in bytes: a length, a virtio network header, a frame.
const (
	lengthSize = 4
	headerSize = 10
	// maxFrame is the longest frame: 64 KiB of IP in Ethernet with a tag.
	maxFrame  = 65535 + 18
	minFrame  = 14
	maxRecord = lengthSize + headerSize + maxFrame
)

// wholeRecords returns the length of the records at the beginning of b that fit
// into limit bytes, or of the first one if it is longer.
func wholeRecords(b []byte, limit int) int {
	n := 0
	for n < len(b) {
		next := n + lengthSize + int(binary.LittleEndian.Uint32(b[n:]))
		if n > 0 && next > limit {
			break
		}
		n = next
	}
	return n
}

// Virtio network header; see struct virtio_net_hdr in the virtio 1.2
// specification, section 5.1.6. All fields are little-endian.
const (
	needsChecksum = 1 // flags
	dataValid     = 2

	gsoNone = 0
	gsoTCP4 = 1
	gsoTCP6 = 4
	gsoUDP  = 5 // UDP_L4
	gsoECN  = 0x80
)

var errLength = errors.New("record of an impossible length")

// checkLength returns the length of what follows a record's length field.
func checkLength(b []byte) (int, error) {
	n := int(binary.LittleEndian.Uint32(b))
	if n < headerSize+minFrame || n > headerSize+maxFrame {
		return 0, fmt.Errorf("%w: %d", errLength, n)
	}
	return n, nil
}

// plausible tells whether the header of a record speaks of its frame. What it
// lets pass, the kernel checks again against the frame's own headers.
func plausible(b []byte) bool {
	flags, gso := b[0], b[1]
	headers := int(binary.LittleEndian.Uint16(b[2:]))
	size := binary.LittleEndian.Uint16(b[4:])
	start := int(binary.LittleEndian.Uint16(b[6:]))
	offset := int(binary.LittleEndian.Uint16(b[8:]))
	frame := len(b) - headerSize
	if flags&^(needsChecksum|dataValid) != 0 || headers > frame {
		return false
	}
	if flags&needsChecksum != 0 && start+offset+2 > frame {
		return false
	}
	switch gso &^ gsoECN {
	case gsoNone:
		return gso == gsoNone
	case gsoTCP4, gsoTCP6, gsoUDP:
		return size > 0 && flags&needsChecksum != 0
	}
	return false
}

// parts has memory for records that arrive in pieces.
var parts = sync.Pool{New: func() any { b := make([]byte, 0, maxRecord); return &b }}

// splitter cuts a stream of bytes into records, which it hands to each.
type splitter struct {
	each func(record []byte) error
	part *[]byte // the beginning of a record, nil for none: from parts
}

// feed takes the next bytes of the stream. A record that lies in b as a whole
// is handed on from where it is.
func (s *splitter) feed(b []byte) error {
	for len(b) > 0 {
		if s.part != nil {
			rest, err := s.complete(b)
			if err != nil {
				return err
			}
			b = rest
			continue
		}
		if len(b) < lengthSize {
			s.begin(b)
			return nil
		}
		n, err := checkLength(b)
		if err != nil {
			return err
		}
		if len(b) < lengthSize+n {
			s.begin(b)
			return nil
		}
		if err := s.each(b[lengthSize : lengthSize+n]); err != nil {
			return err
		}
		b = b[lengthSize+n:]
	}
	return nil
}

// begin keeps the beginning of a record.
func (s *splitter) begin(b []byte) {
	s.part = parts.Get().(*[]byte)
	*s.part = append((*s.part)[:0], b...)
}

// complete adds to the record that was begun and returns what is left of b.
func (s *splitter) complete(b []byte) ([]byte, error) {
	want := lengthSize
	if len(*s.part) >= lengthSize {
		n, err := checkLength(*s.part)
		if err != nil {
			return nil, err
		}
		want += n
	}
	take := min(want-len(*s.part), len(b))
	*s.part = append(*s.part, b[:take]...)
	b = b[take:]
	if len(*s.part) < want || want == lengthSize {
		return b, nil
	}
	err := s.each((*s.part)[lengthSize:])
	s.drop()
	return b, err
}

// drop gives back what was kept.
func (s *splitter) drop() {
	if s.part != nil {
		parts.Put(s.part)
		s.part = nil
	}
}
