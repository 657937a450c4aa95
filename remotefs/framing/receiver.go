// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package framing

import (
	"bufio"
	"errors"
	"io"
	"sync/atomic"

	"github.com/container-offload/offload/remotefs/wire"
)

// readBuffer is how much is read ahead, in bytes.
const readBuffer = 64 << 10

// Receiver reads frames. Only Received may be called concurrently.
type Receiver struct {
	r        *bufio.Reader
	body     []byte
	data     int
	received atomic.Uint64
}

// NewReceiver returns a receiver of what r reads.
func NewReceiver(r io.Reader) *Receiver {
	return &Receiver{r: bufio.NewReaderSize(r, readBuffer), body: make([]byte, 1<<10)}
}

// Received returns the number of bytes read.
func (r *Receiver) Received() uint64 { return r.received.Load() }

// Empty reports whether nothing has arrived that was not taken. More may be on
// the connection.
func (r *Receiver) Empty() bool { return r.r.Buffered() == 0 }

// Next reads a frame up to its data, and drops what was not read of the last
// frame's data. The body is valid until the next call.
func (r *Receiver) Next() (wire.Header, []byte, error) {
	if r.data > 0 {
		if _, err := r.r.Discard(r.data); err != nil {
			return wire.Header{}, nil, err
		}
		r.data = 0
	}
	head, err := r.r.Peek(wire.HeaderSize)
	if err != nil {
		if errors.Is(err, io.EOF) && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return wire.Header{}, nil, err
	}
	h, err := wire.ParseHeader(head)
	if err != nil {
		return wire.Header{}, nil, err
	}
	_, _ = r.r.Discard(wire.HeaderSize)
	if h.Body > len(r.body) {
		r.body = make([]byte, h.Body)
	}
	body := r.body[:h.Body]
	if _, err := io.ReadFull(r.r, body); err != nil {
		return wire.Header{}, nil, unexpected(err)
	}
	r.data = h.Data
	r.received.Add(uint64(wire.HeaderSize + h.Body + h.Data))
	return h, body, nil
}

// Data reads the first len(p) bytes, which must not be more than there are, of
// what is left of the frame's data.
func (r *Receiver) Data(p []byte) error {
	n, err := io.ReadFull(r.r, p)
	r.data -= n
	return unexpected(err)
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
