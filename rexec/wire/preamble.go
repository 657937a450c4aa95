// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// PreambleKind says what a connection to a server is.
type PreambleKind byte

// The kinds of connections.
const (
	// PreambleClient comes from the client itself: it lives as long as the
	// process at the other end.
	PreambleClient PreambleKind = 'C'
	// PreambleRelayed comes from a client by way of a daemon. Its loss means
	// nothing: the client will come again.
	PreambleRelayed PreambleKind = 'R'
	// PreambleGone carries nothing else. It says that the client with the token
	// has ended.
	PreambleGone PreambleKind = 'G'
)

// Preamble begins a connection to a server. The session follows it.
type Preamble struct {
	Kind PreambleKind
	// Client is the client's own number, the same on all its connections.
	Client Token
}

// PreambleSize is the size of an encoded preamble, in bytes.
const PreambleSize = 20

// Encode returns the preamble as it travels.
func (p Preamble) Encode() []byte {
	return append([]byte{'R', 'X', '1', byte(p.Kind)}, p.Client[:]...)
}

// ReadPreamble reads a preamble and nothing after it.
func ReadPreamble(r io.Reader) (Preamble, error) {
	var b [PreambleSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return Preamble{}, fmt.Errorf("read preamble: %w", err)
	}
	p := Preamble{Kind: PreambleKind(b[3])}
	copy(p.Client[:], b[4:])
	switch {
	case string(b[:3]) != "RX1":
		return Preamble{}, malformed("preamble begins with %q", b[:3])
	case p.Kind != PreambleClient && p.Kind != PreambleRelayed && p.Kind != PreambleGone:
		return Preamble{}, malformed("preamble of kind %q", b[3])
	}
	return p, nil
}

// maxRefusal bounds the text of a refusal, in bytes.
const maxRefusal = 1 << 10

// refusalMagic begins the answer to a preamble that leads nowhere. A session
// never begins with it.
const refusalMagic = "RXNO"

// Refusal returns what is sent in place of a session to say why there is none.
func Refusal(err error) []byte {
	text := err.Error()
	text = text[:min(len(text), maxRefusal)]
	b := binary.BigEndian.AppendUint16([]byte(refusalMagic), uint16(len(text)))
	return append(b, text...)
}

// ReadRefusal reads the first bytes of an answer. If they are a refusal it
// returns that as an error, else the bytes, which belong to the session.
func ReadRefusal(r io.Reader) ([]byte, error) {
	b := make([]byte, len(refusalMagic), len(refusalMagic)+2+maxRefusal)
	if _, err := io.ReadFull(r, b); err != nil || string(b) != refusalMagic {
		return b, err
	}
	var n [2]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return nil, fmt.Errorf("read refusal: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(r, int64(min(binary.BigEndian.Uint16(n[:]), maxRefusal))))
	if err != nil {
		return nil, fmt.Errorf("read refusal: %w", err)
	}
	return nil, &RefusedError{Printable(string(text))}
}

// RefusedError says why a connection to a server was refused.
type RefusedError struct{ Text string }

func (e *RefusedError) Error() string { return e.Text }

// Printable returns a text of the peer's without control characters.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}
