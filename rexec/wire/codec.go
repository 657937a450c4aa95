// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Bounds of a message.
const (
	// MaxMessage bounds a message's payload, in bytes. Linux allows a program
	// 2 MiB of arguments and environment with the usual stack limit.
	MaxMessage = 3 << 20
	// maxList bounds the number of entries in any list of a message.
	maxList = 64 << 10
	// maxReasonText bounds the text of a failure.
	maxReasonText = 4 << 10
)

// ErrMalformed is wrapped by the errors of bytes that are no message.
var ErrMalformed = errors.New("malformed message")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// kind is a message's type on the wire.
type kind uint8

const (
	kindRun       kind = 1
	kindAttach    kind = 2
	kindList      kind = 3
	kindWait      kind = 4
	kindKill      kind = 5
	kindSignal    kind = 6
	kindResize    kind = 7
	kindLeave     kind = 8
	kindStarted   kind = 32
	kindStopped   kind = 33
	kindContinued kind = 34
	kindExited    kind = 35
	kindDone      kind = 36
	kindFailed    kind = 37
	kindListing   kind = 38
)

// fresh returns an empty message of a kind, or nil.
func (k kind) fresh() Message {
	switch k {
	case kindRun:
		return new(Run)
	case kindAttach:
		return new(Attach)
	case kindList:
		return new(List)
	case kindWait:
		return new(Wait)
	case kindKill:
		return new(Kill)
	case kindSignal:
		return new(Signal)
	case kindResize:
		return new(Resize)
	case kindLeave:
		return new(Leave)
	case kindStarted:
		return new(Started)
	case kindStopped:
		return new(Stopped)
	case kindContinued:
		return new(Continued)
	case kindExited:
		return new(Exited)
	case kindDone:
		return new(Done)
	case kindFailed:
		return new(Failed)
	case kindListing:
		return new(Listing)
	}
	return nil
}

const headerSize = 8

// version is the only one there is; it is in every frame.
const version = 1

// Encode returns a message as a frame.
func Encode(m Message) ([]byte, error) {
	e := &encoder{b: make([]byte, headerSize, 256)}
	m.encode(e)
	n := len(e.b) - headerSize
	if n > MaxMessage {
		return nil, fmt.Errorf("message of %d bytes, more than %d", n, MaxMessage)
	}
	binary.BigEndian.PutUint32(e.b, uint32(n))
	e.b[4] = version
	e.b[5] = byte(m.kind())
	return e.b, nil
}

// Write writes a message in one call of w.Write.
func Write(w io.Writer, m Message) error {
	b, err := Encode(m)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// Read reads the next message. It returns io.EOF only between messages. Errors
// of what was read wrap ErrMalformed.
func Read(r io.Reader) (Message, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(h[:])
	m := kind(h[5]).fresh()
	switch {
	case h[4] != version:
		return nil, malformed("version %d, not %d", h[4], version)
	case m == nil:
		return nil, malformed("unknown type %d", h[5])
	case h[6]|h[7] != 0:
		return nil, malformed("reserved bytes are used")
	case n > MaxMessage:
		return nil, malformed("%d bytes, more than %d", n, MaxMessage)
	}
	p, err := readPayload(r, int(n))
	if err != nil {
		return nil, err
	}
	d := &decoder{b: p}
	m.decode(d)
	if d.err == nil && len(d.b) > 0 {
		d.err = malformed("%d bytes after type %d", len(d.b), h[5])
	}
	if d.err != nil {
		return nil, d.err
	}
	return m, nil
}

// readPayload takes memory only for what has arrived.
func readPayload(r io.Reader, n int) ([]byte, error) {
	p := make([]byte, 0, min(n, 64<<10))
	for len(p) < n {
		if len(p) == cap(p) {
			p = append(make([]byte, 0, min(n, 4*cap(p))), p...)
		}
		m, err := r.Read(p[len(p):min(n, cap(p))])
		p = p[:len(p)+m]
		if err == io.EOF && len(p) < n {
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil && len(p) < n {
			return nil, err
		}
	}
	return p, nil
}

// encoder appends fields.
type encoder struct{ b []byte }

func (e *encoder) uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) string(s string) {
	e.uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) bool(v bool) {
	if v {
		e.b = append(e.b, 1)
	} else {
		e.b = append(e.b, 0)
	}
}

func (e *encoder) strings(l []string) {
	e.uint(uint64(len(l)))
	for _, s := range l {
		e.string(s)
	}
}

func (e *encoder) token(t Token) { e.b = append(e.b, t[:]...) }

func (e *encoder) time(t time.Time) { e.uint(uint64(t.UnixNano())) }

// decoder takes fields off the front. After an error it returns zero values.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = malformed(format, args...)
	}
	d.b = nil
}

// uint takes a number up to limit.
func (d *decoder) uint(limit uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	switch {
	case n <= 0:
		d.fail("a number is cut off or too large")
		return 0
	case v > limit:
		d.fail("number %d, more than %d", v, limit)
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.fail("%d bytes wanted, %d there", n, len(d.b))
		return nil
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) string() string { return string(d.take(int(d.uint(MaxMessage)))) }

// text takes a string that goes to system calls: it has no zero byte.
func (d *decoder) text() string {
	s := d.string()
	for i := range len(s) {
		if s[i] == 0 {
			d.fail("a string has a zero byte")
			return ""
		}
	}
	return s
}

func (d *decoder) bool() bool {
	p := d.take(1)
	if len(p) == 1 && p[0] > 1 {
		d.fail("boolean %d", p[0])
	}
	return len(p) == 1 && p[0] == 1
}

// count takes the length of a list whose entries have at least one byte.
func (d *decoder) count() int {
	n := d.uint(maxList)
	if n > uint64(len(d.b)) {
		d.fail("list of %d entries in %d bytes", n, len(d.b))
		return 0
	}
	return int(n)
}

func (d *decoder) texts() []string {
	n := d.count()
	if n == 0 {
		return nil
	}
	l := make([]string, 0, n)
	for range n {
		l = append(l, d.text())
	}
	if d.err != nil {
		return nil
	}
	return l
}

func (d *decoder) token() (t Token) {
	copy(t[:], d.take(len(t)))
	return t
}

func (d *decoder) time() time.Time { return time.Unix(0, int64(d.uint(1<<63-1))) }
