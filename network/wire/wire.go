// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	"github.com/container-offload/offload/network/carrier"
	"github.com/container-offload/offload/network/twin"
)

// Kind is what a stream is for.
type Kind string

const (
	// Control (DPU opens) carries an [Update] for each change on the DPU, and
	// back a [Message] for each. The network ends with it.
	Control Kind = "control"
	// Frames (DPU opens) carries the frames of one interface, both ways.
	Frames Kind = "frames"
	// DNSDatagram (HOST opens) carries one DNS query, and back its answer.
	DNSDatagram Kind = "dns-udp"
	// DNSStream (HOST opens) carries a TCP connection to the DNS server.
	DNSStream Kind = "dns-tcp"
)

// Header is the first thing of a stream.
type Header struct {
	// Network names the namespace; what names are there is agreed elsewhere.
	Network string `json:"network"`
	Kind    Kind   `json:"kind"`
	// Interface is the ID of the interface of a frames stream.
	Interface uint32 `json:"interface,omitempty"`
}

// MaxNetwork bounds the name of a network, in bytes.
const MaxNetwork = 300

// Encode returns the header's bytes.
func (h Header) Encode() []byte {
	b, err := json.Marshal(h)
	if err != nil {
		panic(err) // strings and a number: cannot fail
	}
	return b
}

// ParseHeader is the inverse of [Header.Encode].
func ParseHeader(b []byte) (Header, error) {
	var h Header
	if err := decode(b, &h); err != nil {
		return h, fmt.Errorf("network header: %w", err)
	}
	if h.Network == "" || len(h.Network) > MaxNetwork {
		return h, fmt.Errorf("network header: a name of %d bytes", len(h.Network))
	}
	switch h.Kind {
	case Control, DNSDatagram, DNSStream:
		if h.Interface != 0 {
			return h, fmt.Errorf("network header: %s with an interface", h.Kind)
		}
	case Frames:
		if h.Interface == 0 {
			return h, fmt.Errorf("network header: %s without an interface", h.Kind)
		}
	default:
		return h, fmt.Errorf("network header: unknown kind %q", h.Kind)
	}
	return h, nil
}

// Update tells the HOST what the namespace looks like on the DPU.
type Update struct {
	Seq       uint64         `json:"seq"`
	Namespace twin.Namespace `json:"namespace"`
	// Offers are the terms for each interface that is new, by its ID.
	Offers map[uint32]carrier.Terms `json:"offers,omitempty"`
	// Follow tells that the container may change its interfaces: the HOST
	// reports what it does.
	Follow bool `json:"follow,omitempty"`
}

// Message is what the HOST says: one of its fields.
type Message struct {
	Reply  *Reply  `json:"reply,omitempty"`
	Report *Report `json:"report,omitempty"`
}

// Reply answers an update.
type Reply struct {
	Seq uint64 `json:"seq"`
	// Error tells why the twin could not be made, and is empty if it was.
	Error string `json:"error,omitempty"`
	// Answers are the HOST's terms for each offer.
	Answers map[uint32]carrier.Terms `json:"answers,omitempty"`
}

// Report tells how the container has changed its interfaces since the last
// update.
type Report struct {
	Interfaces []Change `json:"interfaces"`
}

// Change is how an interface differs from its description.
type Change struct {
	ID      uint32         `json:"id"`
	Added   []twin.Address `json:"added,omitempty"`
	Removed []twin.Address `json:"removed,omitempty"`
	// MAC is the new one, or empty.
	MAC string `json:"mac,omitempty"`
}

// MaxMessage bounds an encoded message, in bytes.
const MaxMessage = 1 << 20

// Write writes a message: its length as a 32-bit number, most significant byte
// first, and its JSON.
func Write(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %T: %w", v, err)
	}
	if len(b) > MaxMessage {
		return fmt.Errorf("encode %T: %d bytes, more than %d", v, len(b), MaxMessage)
	}
	if _, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)); err != nil {
		return fmt.Errorf("send %T: %w", v, err)
	}
	return nil
}

// Read reads a message into v. It returns [io.EOF] at the end of the stream.
func Read(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > MaxMessage {
		return fmt.Errorf("receive %T: %d bytes, more than %d", v, n, MaxMessage)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("receive %T: %w", v, err)
	}
	if err := decode(b, v); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	return nil
}

// decode takes unknown fields: a newer peer may say more.
func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return fmt.Errorf("bytes after the value")
	}
	return nil
}
