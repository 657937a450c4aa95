// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// version is the only version of the protocol there is.
const version = 1

const (
	helloMagic  = "OFFH"
	answerMagic = "OFFA"

	helloSize  = 48
	answerSize = 52
)

// sessionID names a session among all of an acceptor. Zero in a hello asks for a
// new one.
type sessionID [16]byte

func (id sessionID) String() string { return hex.EncodeToString(id[:4]) }

// terms are what an end tells the other with each connection.
type terms struct {
	// received is how many bytes of the other's reliable sequence have arrived.
	received uint64
	// resume is how long the end keeps a session without a connection.
	resume time.Duration
	// window is the credit each stream starts with.
	window uint32
	// streams is how many streams the other may have open.
	streams uint32
}

// hello is what the dialling end says first on a connection.
type hello struct {
	id sessionID
	// attempt grows with each connection of a session, so that one that was slow on
	// its way can't displace a later one.
	attempt uint32
	terms
}

// answerCode says what the accepting end makes of a hello.
type answerCode uint16

const (
	codeAccepted answerCode = 0
	codeRefused  answerCode = 1 // never try this session again
	codeVersion  answerCode = 2 // the version is not spoken here
	codeStale    answerCode = 3 // a later connection is there
)

// answer is what the accepting end says first.
type answer struct {
	code   answerCode
	id     sessionID
	reason string
	terms
}

func (t terms) put(b []byte) {
	binary.BigEndian.PutUint32(b, uint32(t.resume/time.Millisecond))
	binary.BigEndian.PutUint64(b[4:], t.received)
	binary.BigEndian.PutUint32(b[12:], t.window)
	binary.BigEndian.PutUint32(b[16:], t.streams)
}

func parseTerms(b []byte) (terms, error) {
	t := terms{
		resume:   time.Duration(binary.BigEndian.Uint32(b)) * time.Millisecond,
		received: binary.BigEndian.Uint64(b[4:]),
		window:   binary.BigEndian.Uint32(b[12:]),
		streams:  binary.BigEndian.Uint32(b[16:]),
	}
	if t.window == 0 || t.window > maxCredit {
		return t, violation("window of %d bytes", t.window)
	}
	return t, nil
}

func (h hello) encode() []byte {
	b := make([]byte, helloSize)
	copy(b, helloMagic)
	binary.BigEndian.PutUint16(b[4:], version)
	copy(b[8:], h.id[:])
	binary.BigEndian.PutUint32(b[24:], h.attempt)
	h.put(b[28:])
	return b
}

// errVersion says that the other end speaks another version.
type errVersion struct{ theirs uint16 }

func (e *errVersion) Error() string {
	return fmt.Sprintf("peer speaks version %d of the session protocol, this side version %d", e.theirs, version)
}

// readHello reads a hello and nothing after it.
func readHello(r io.Reader) (hello, error) {
	var b [helloSize]byte
	if _, err := io.ReadFull(r, b[:6]); err != nil {
		return hello{}, fmt.Errorf("read hello: %w", err)
	}
	if string(b[:4]) != helloMagic {
		return hello{}, violation("hello begins with %q", b[:4])
	}
	if v := binary.BigEndian.Uint16(b[4:]); v != version {
		return hello{}, &errVersion{v}
	}
	if _, err := io.ReadFull(r, b[6:]); err != nil {
		return hello{}, fmt.Errorf("read hello: %w", noEOF(err))
	}
	return parseHello(b[:])
}

func parseHello(b []byte) (hello, error) {
	var h hello
	if reserved := binary.BigEndian.Uint16(b[6:]); reserved != 0 {
		return h, violation("hello with reserved field %#x", reserved)
	}
	copy(h.id[:], b[8:])
	h.attempt = binary.BigEndian.Uint32(b[24:])
	var err error
	h.terms, err = parseTerms(b[28:])
	return h, err
}

func (a answer) encode() []byte {
	reason := cutReason(a.reason)
	b := make([]byte, answerSize, answerSize+len(reason))
	copy(b, answerMagic)
	binary.BigEndian.PutUint16(b[4:], version)
	binary.BigEndian.PutUint16(b[6:], uint16(a.code))
	copy(b[8:], a.id[:])
	a.put(b[28:])
	binary.BigEndian.PutUint16(b[48:], uint16(len(reason)))
	return append(b, reason...)
}

// readAnswer reads an answer and nothing after it. A refusal is an error.
func readAnswer(r io.Reader) (answer, error) {
	var b [answerSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return answer{}, err
	}
	if string(b[:4]) != answerMagic {
		return answer{}, violation("answer begins with %q", b[:4])
	}
	// The form of an answer is that of every version, so that a refusal can be read.
	a := answer{code: answerCode(binary.BigEndian.Uint16(b[6:]))}
	copy(a.id[:], b[8:])
	n := binary.BigEndian.Uint16(b[48:])
	if n > maxReason {
		return a, violation("answer with a reason of %d bytes", n)
	}
	reason := make([]byte, n)
	if _, err := io.ReadFull(r, reason); err != nil {
		return a, noEOF(err)
	}
	if a.reason = cutReason(string(reason)); a.code != codeAccepted {
		return a, &RefusedError{Reason: a.reason, again: a.code == codeStale}
	}
	if v := binary.BigEndian.Uint16(b[4:]); v != version {
		return a, &errVersion{v}
	}
	if b[24]|b[25]|b[26]|b[27]|b[50]|b[51] != 0 {
		return a, violation("answer with reserved fields")
	}
	if a.id == (sessionID{}) {
		return a, violation("answer without a session id")
	}
	var err error
	a.terms, err = parseTerms(b[28:])
	return a, err
}

// noEOF makes an end that comes too early recognisable.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
