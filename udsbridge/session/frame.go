// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// frameType says what a frame is. Types below 16 are reliable: they count in the
// sequence that both ends number, are kept until acknowledged and are sent again
// after the loss of a connection.
type frameType uint8

const (
	frameOpen   frameType = 1 // service and header of a new stream
	frameData   frameType = 2
	frameFin    frameType = 3 // no more data in this direction
	frameStop   frameType = 4 // no more data wanted in the other direction
	frameReset  frameType = 5 // reason
	frameWindow frameType = 6 // credit

	frameAck  frameType = 16 // reliable bytes received
	framePing frameType = 17 // token
	framePong frameType = 18 // the ping's token
	frameBye  frameType = 19 // reason
)

// Sizes in bytes.
const (
	headerSize = 8
	maxPayload = 64 << 10
	maxReason  = 1 << 10
	maxOpen    = 1 + MaxService + MaxHeader

	ackSize    = headerSize + 8
	windowSize = headerSize + 4
)

// maxCredit bounds the sum of a stream's credit, in bytes.
const maxCredit = 1 << 30

func (t frameType) reliable() bool { return t < frameAck }

// shape is what a frame of a type may look like.
type shape struct {
	name     string
	min, max int
	ofStream bool
}

func (t frameType) shape() (shape, bool) {
	switch t {
	case frameOpen:
		return shape{"OPEN", 2, maxOpen, true}, true
	case frameData:
		return shape{"DATA", 1, maxPayload, true}, true
	case frameFin:
		return shape{"FIN", 0, 0, true}, true
	case frameStop:
		return shape{"STOP", 0, 0, true}, true
	case frameReset:
		return shape{"RESET", 0, maxReason, true}, true
	case frameWindow:
		return shape{"WINDOW", 4, 4, true}, true
	case frameAck:
		return shape{"ACK", 8, 8, false}, true
	case framePing:
		return shape{"PING", 8, 8, false}, true
	case framePong:
		return shape{"PONG", 8, 8, false}, true
	case frameBye:
		return shape{"BYE", 0, maxReason, false}, true
	default:
		return shape{}, false
	}
}

func (t frameType) String() string {
	if s, ok := t.shape(); ok {
		return s.name
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// frameHeader begins each frame.
type frameHeader struct {
	typ    frameType
	length int // of the payload
	stream uint32
}

func (h frameHeader) size() int { return headerSize + h.length }

// put writes the header to the first headerSize bytes of b.
func (h frameHeader) put(b []byte) {
	binary.BigEndian.PutUint32(b, uint32(h.typ)<<24|uint32(h.length))
	binary.BigEndian.PutUint32(b[4:], h.stream)
}

// parseHeader reads a header from the first headerSize bytes of b and refuses one
// that no frame can have.
func parseHeader(b []byte) (frameHeader, error) {
	word := binary.BigEndian.Uint32(b)
	h := frameHeader{
		typ:    frameType(word >> 24),
		length: int(word & 0xffffff),
		stream: binary.BigEndian.Uint32(b[4:]),
	}
	s, ok := h.typ.shape()
	switch {
	case !ok:
		return h, violation("frame of unknown type %d", uint8(h.typ))
	case h.length < s.min || h.length > s.max:
		return h, violation("%s frame of %d bytes", s.name, h.length)
	case s.ofStream && h.stream == 0:
		return h, violation("%s frame of stream 0", s.name)
	case !s.ofStream && h.stream != 0:
		return h, violation("%s frame of stream %d", s.name, h.stream)
	}
	return h, nil
}

// parseOpen splits the payload of an OPEN frame. What it returns is a copy.
func parseOpen(p []byte) (service string, header []byte, err error) {
	n := int(p[0])
	if n == 0 || 1+n > len(p) || len(p)-1-n > MaxHeader {
		return "", nil, violation("OPEN frame with a service name of %d bytes in %d", n, len(p))
	}
	service = string(p[1 : 1+n])
	if !validService(service) {
		return "", nil, violation("OPEN frame with service name %q", service)
	}
	if rest := p[1+n:]; len(rest) > 0 {
		header = append(header, rest...)
	}
	return service, header, nil
}

// validService reports whether s can name a service: printable UTF-8, since it
// goes into logs and errors on the other side.
func validService(s string) bool {
	return s != "" && len(s) <= MaxService && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// cutReason makes any text fit to be sent or shown as a reason.
func cutReason(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	for len(s) > maxReason {
		_, n := utf8.DecodeLastRuneInString(s[:maxReason])
		s = s[:maxReason-n]
	}
	return s
}

func violation(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrProtocol}, args...)...)
}
