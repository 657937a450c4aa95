// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"io"
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
