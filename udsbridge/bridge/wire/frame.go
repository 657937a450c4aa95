// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"fmt"
)

// ErrMalformed is wrapped by the errors about bytes that the protocol does not
// allow.
var ErrMalformed = errors.New("malformed")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// FrameType says what a frame is.
type FrameType uint8

// The types of frames.
const (
	// FrameData carries bytes of a byte stream, or exactly one message.
	FrameData FrameType = iota + 1
	// FrameFiles carries bytes, or exactly one message, with descriptors.
	FrameFiles
	// FrameShutWrite says that the sender's program writes no more.
	FrameShutWrite
	// FrameShutRead says that the sender's program reads no more.
	FrameShutRead
	// FrameClose says that the sender's program has closed its end. It is the last.
	FrameClose
	// FrameReply is the answer to Connect, the first frame of the serving side.
	FrameReply
	// FrameRefused says that the sender can't take a descriptor it was passed. The
	// connection is over.
	FrameRefused
	// FrameHello is the answer to Hello, the first frame on a control stream.
	FrameHello
	// FrameWatch replaces the prefixes whose sockets the peer tells of.
	FrameWatch
	// FrameSockets tells of all sockets below one prefix.
	FrameSockets
	// FrameTerminal tells of a terminal's size or settings.
	FrameTerminal

	lastType = FrameTerminal
)

const (
	// HeaderSize is the size of a frame's header, in bytes.
	HeaderSize = 4
	// MaxPayload is the largest payload of a frame, in bytes, and by that the
	// largest message.
	MaxPayload = 1 << 20
)

// PutHeader writes a frame's header into b, which has room for HeaderSize bytes.
func PutHeader(b []byte, t FrameType, payload int) {
	b[0], b[1], b[2], b[3] = byte(t), byte(payload>>16), byte(payload>>8), byte(payload)
}

// AppendFrame appends a whole frame.
func AppendFrame(b []byte, t FrameType, payload []byte) []byte {
	var h [HeaderSize]byte
	PutHeader(h[:], t, len(payload))
	return append(append(b, h[:]...), payload...)
}

// Frame is one frame, or in a byte stream a part of a data frame.
type Frame struct {
	Type FrameType
	// Payload is good until the decoder is used again.
	Payload []byte
}

// Decoder takes frames out of a stream of bytes, however it is cut. The zero value
// is for byte streams: it hands out the payload of data frames as it comes and
// keeps nothing of it.
type Decoder struct {
	// Whole hands out data frames only when they are complete, for sockets that
	// keep messages apart.
	Whole bool

	have      uint8 // bytes of header that have come; 0 between frames
	header    [HeaderSize]byte
	remaining int32  // bytes of payload to come
	kept      []byte // payload so far of a frame that is handed out whole
}

// Next takes the next frame out of p and returns what is left of p. Without a
// frame, ok is false, rest is empty and more bytes are needed.
func (d *Decoder) Next(p []byte) (f Frame, ok bool, rest []byte, err error) {
	if d.have < HeaderSize {
		n := copy(d.header[d.have:], p)
		d.have += uint8(n)
		p = p[n:]
		if d.have < HeaderSize {
			return Frame{}, false, nil, nil
		}
		if err := d.begin(); err != nil {
			return Frame{}, false, nil, err
		}
	}
	t := FrameType(d.header[0])
	if t == FrameData && !d.Whole {
		return d.part(p)
	}
	n := min(int(d.remaining), len(p))
	if d.kept == nil && n == int(d.remaining) {
		d.have, d.remaining = 0, 0
		return Frame{t, p[:n]}, true, p[n:], nil
	}
	d.kept = append(d.kept, p[:n]...)
	d.remaining -= int32(n)
	if d.remaining > 0 {
		return Frame{}, false, nil, nil
	}
	f = Frame{t, d.kept}
	d.have, d.kept = 0, nil
	return f, true, p[n:], nil
}

// begin looks at a complete header.
func (d *Decoder) begin() error {
	size := int32(d.header[1])<<16 | int32(d.header[2])<<8 | int32(d.header[3])
	t := FrameType(d.header[0])
	switch {
	case t == 0 || t > lastType:
		return malformed("frame of unknown type %d", t)
	case size > MaxPayload:
		return malformed("frame of %d bytes, more than %d", size, MaxPayload)
	}
	d.remaining = size
	return nil
}

// part hands out what has come of a data frame.
func (d *Decoder) part(p []byte) (Frame, bool, []byte, error) {
	n := min(int(d.remaining), len(p))
	d.remaining -= int32(n)
	if d.remaining == 0 {
		d.have = 0
	}
	if n == 0 && d.have != 0 {
		return Frame{}, false, nil, nil
	}
	return Frame{FrameData, p[:n]}, true, p[n:], nil
}

// Between reports whether the decoder is between two frames, where a stream may
// end.
func (d *Decoder) Between() bool { return d.have == 0 }
