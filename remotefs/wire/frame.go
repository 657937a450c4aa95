// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// Version is the protocol's; both sides must have the same.
	Version = 1
	// Magic starts a Hello's body, so that a stranger is recognised.
	Magic = 0x53465752 // "RWFS"
	// HeaderSize is the size of a frame's header in bytes.
	HeaderSize = 16
	// MaxBody bounds the fields of a frame in bytes.
	MaxBody = 16 << 10
	// MaxData bounds the data of a frame in bytes.
	MaxData = 1 << 20
	// MaxName bounds a file name in bytes.
	MaxName = 255
	// MaxTarget bounds the target of a symbolic link in bytes.
	MaxTarget = 4095
)

// Kind says what a frame is.
type Kind uint8

// The kinds.
const (
	KindRequest Kind = 1
	KindReply   Kind = 2
	// KindCancel asks that the request with the frame's id fail with EINTR if
	// it is waiting for something. It has no reply of its own.
	KindCancel Kind = 3
)

// ErrProtocol is wrapped by the errors about bytes that are not the protocol's.
var ErrProtocol = errors.New("remotefs protocol violated")

// Header starts each frame.
type Header struct {
	// Body and Data are the sizes of what follows in bytes: the fields, then
	// the data.
	Body, Data int
	Kind       Kind
	Op         Op
	// ID joins a reply to its request. The client chooses it.
	ID uint32
	// Errno is a reply's error, 0 for none. A reply with an error has no body
	// and no data.
	Errno Errno
}

// Append appends the header's bytes.
func (h Header) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(h.Data))
	b = binary.LittleEndian.AppendUint16(b, uint16(h.Body))
	b = append(b, byte(h.Kind), byte(h.Op))
	b = binary.LittleEndian.AppendUint32(b, h.ID)
	return binary.LittleEndian.AppendUint32(b, uint32(h.Errno))
}

// ParseHeader decodes and checks the first HeaderSize bytes of a frame.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("%w: header of %d bytes", ErrProtocol, len(b))
	}
	h := Header{
		Body:  int(binary.LittleEndian.Uint16(b[4:])),
		Kind:  Kind(b[6]),
		Op:    Op(b[7]),
		ID:    binary.LittleEndian.Uint32(b[8:]),
		Errno: Errno(binary.LittleEndian.Uint32(b[12:])),
	}
	data := binary.LittleEndian.Uint32(b)
	switch {
	case data > MaxData:
		return Header{}, fmt.Errorf("%w: frame with %d bytes of data", ErrProtocol, data)
	case h.Body > MaxBody:
		return Header{}, fmt.Errorf("%w: frame with %d bytes of fields", ErrProtocol, h.Body)
	case h.Kind < KindRequest || h.Kind > KindCancel:
		return Header{}, fmt.Errorf("%w: frame of kind %d", ErrProtocol, h.Kind)
	case h.Kind == KindCancel && (h.Body != 0 || data != 0):
		return Header{}, fmt.Errorf("%w: cancel with content", ErrProtocol)
	case h.Errno != 0 && (h.Kind != KindReply || h.Body != 0 || data != 0):
		return Header{}, fmt.Errorf("%w: error with content", ErrProtocol)
	}
	h.Data = int(data)
	return h, nil
}

// decoder takes fields from a body. After the first field that is not there,
// all are zero and err is set.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) take(n int) []byte {
	if d.err == nil && len(d.b) < n {
		d.err = fmt.Errorf("%w: body ends early", ErrProtocol)
	}
	if d.err != nil {
		return make([]byte, n)[:n:n]
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) u16() uint16 { return binary.LittleEndian.Uint16(d.take(2)) }
func (d *decoder) u32() uint32 { return binary.LittleEndian.Uint32(d.take(4)) }
func (d *decoder) u64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }

func (d *decoder) str(limit int) string {
	n := int(d.u16())
	if d.err == nil && n > limit {
		d.err = fmt.Errorf("%w: string of %d bytes", ErrProtocol, n)
	}
	if d.err != nil {
		return ""
	}
	return string(d.take(n))
}

func (d *decoder) end() error {
	if d.err == nil && len(d.b) != 0 {
		d.err = fmt.Errorf("%w: %d bytes too many in a body", ErrProtocol, len(d.b))
	}
	return d.err
}

func appendString(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}
