// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// version is the only version of the preamble and of the verdict there is.
const version = 1

const (
	preambleMagic = "OFFL"
	verdictMagic  = "OFFV"

	// preambleSize and verdictSize are what both have before their text, in bytes.
	preambleSize = 8
	verdictSize  = 8

	// flagTLS says that TLS begins after the preamble.
	flagTLS = 1 << 0

	// maxReason bounds the text of a verdict, in bytes.
	maxReason = 1 << 10
)

// errForeign says that what has arrived is not of this protocol.
var errForeign = errors.New("what it sends is not of this protocol")

// preamble is what the dialling side says first.
type preamble struct {
	tls    bool
	target Target
}

func (p preamble) encode() []byte {
	text := p.target.String()
	b := make([]byte, preambleSize, preambleSize+len(text))
	copy(b, preambleMagic)
	binary.BigEndian.PutUint16(b[4:], version)
	if p.tls {
		b[6] = flagTLS
	}
	b[7] = byte(len(text)) // maxTarget is less
	return append(b, text...)
}

// errVersion says that the other side speaks another version.
type errVersion struct{ theirs uint16 }

func (e *errVersion) Error() string {
	return fmt.Sprintf("it speaks version %d of the link's protocol and this side version %d", e.theirs, version)
}

// readPreamble reads a preamble and nothing after it.
func readPreamble(r io.Reader) (preamble, error) {
	var b [preambleSize + maxTarget]byte
	if _, err := io.ReadFull(r, b[:preambleSize]); err != nil {
		return preamble{}, err
	}
	if string(b[:4]) != preambleMagic {
		return preamble{}, fmt.Errorf("%w: preamble begins with %q", errForeign, b[:4])
	}
	if v := binary.BigEndian.Uint16(b[4:]); v != version {
		return preamble{}, &errVersion{v}
	}
	flags, n := b[6], int(b[7])
	if flags&^flagTLS != 0 {
		return preamble{}, fmt.Errorf("preamble with unknown flags %#x", flags)
	}
	if n > maxTarget {
		return preamble{}, fmt.Errorf("target is %d bytes, more than %d", n, maxTarget)
	}
	text := b[preambleSize : preambleSize+n]
	if _, err := io.ReadFull(r, text); err != nil {
		return preamble{}, noEOF(err)
	}
	target, err := ParseTarget(string(text))
	return preamble{flags&flagTLS != 0, target}, err
}

// accepted is the verdict by which the accepting side takes the connection.
var accepted = encodeVerdict("")

// encodeVerdict returns what the accepting side says first. No reason means that
// it takes the connection.
func encodeVerdict(reason string) []byte {
	b := make([]byte, verdictSize, verdictSize+len(reason))
	copy(b, verdictMagic)
	binary.BigEndian.PutUint16(b[4:], version)
	binary.BigEndian.PutUint16(b[6:], uint16(len(reason)))
	return append(b, reason...)
}

// refusal returns the verdict by which the accepting side refuses.
func refusal(reason error) []byte {
	text := "no reason given"
	if reason != nil && reason.Error() != "" {
		text = cleanReason(reason.Error())
	}
	return encodeVerdict(text)
}

// readVerdict reads a verdict and nothing after it, and returns the reason of a
// refusal. Its form is that of every version, so that any refusal can be read.
func readVerdict(r io.Reader) (reason string, err error) {
	var b [verdictSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return "", err
	}
	if string(b[:4]) != verdictMagic {
		return "", fmt.Errorf("%w: verdict begins with %q", errForeign, b[:4])
	}
	n := int(binary.BigEndian.Uint16(b[6:]))
	if n > maxReason {
		return "", fmt.Errorf("verdict with a reason of %d bytes, more than %d", n, maxReason)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return "", noEOF(err)
	}
	if n > 0 {
		return cleanReason(string(text)), nil
	}
	if v := binary.BigEndian.Uint16(b[4:]); v != version {
		return "", &errVersion{v}
	}
	return "", nil
}

// cleanReason returns a reason as one line of text within its bounds.
func cleanReason(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
	for len(s) > maxReason {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

// noEOF makes an end that comes too early recognisable.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
