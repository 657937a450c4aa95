// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// The kinds of frame the HOST sends on apply and diff streams.
const (
	kindData   = 'D'
	kindResult = 'R'
	kindError  = 'E'
)

// Limits on the payload of a frame, in bytes.
const (
	// MaxData bounds a data frame.
	MaxData = 256 << 10
	// MaxAnswer bounds a result or error frame.
	MaxAnswer = 8 << 10
)

// frameHeader is a kind and a big-endian length.
const frameHeader = 5

// Result is how the HOST ends a stream that succeeded.
type Result struct {
	// Uncompressed is the digest of the layer's tar stream, and
	// UncompressedSize its length in bytes.
	Uncompressed     digest.Digest
	UncompressedSize int64
}

type resultFrame struct {
	Uncompressed     string `json:"uncompressed"`
	UncompressedSize int64  `json:"uncompressedSize"`
}

// WriteResult ends a stream with its result.
func WriteResult(w io.Writer, r Result) error {
	b, err := json.Marshal(resultFrame{Uncompressed: r.Uncompressed.String(), UncompressedSize: r.UncompressedSize})
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	return writeFrame(w, kindResult, b)
}

func parseResult(b []byte) (Result, error) {
	var f resultFrame
	if err := decodeStrict(b, &f); err != nil {
		return Result{}, fmt.Errorf("decode result from host: %w: %w", err, ErrProtocol)
	}
	r := Result{Uncompressed: digest.Digest(f.Uncompressed), UncompressedSize: f.UncompressedSize}
	if err := validBlob(r.Uncompressed, r.UncompressedSize); err != nil {
		return Result{}, fmt.Errorf("result from host: %w: %w", err, ErrProtocol)
	}
	return r, nil
}

// ErrProtocol is in every error about a stream that breaks the rules of
// docs/wire-store.md. It is never a reason to try again.
var ErrProtocol = fmt.Errorf("store protocol violated: %w", errdefs.ErrDataLoss)

func writeFrame(w io.Writer, kind byte, payload []byte) error {
	head := [frameHeader]byte{kind}
	binary.BigEndian.PutUint32(head[1:], uint32(len(payload)))
	if _, err := w.Write(append(head[:], payload...)); err != nil {
		return fmt.Errorf("send frame %q: %w", kind, err)
	}
	return nil
}

// readFrameHeader reads a frame's kind and length. A stream that ends before a
// frame is as broken as one that ends inside it: each must end with a result or
// an error.
func readFrameHeader(r io.Reader) (kind byte, length int, err error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, lost(err)
	}
	n := binary.BigEndian.Uint32(head[1:])
	most := uint32(MaxAnswer)
	switch head[0] {
	case kindData:
		most = MaxData
	case kindResult, kindError:
	default:
		return 0, 0, fmt.Errorf("frame of unknown kind %#x: %w", head[0], ErrProtocol)
	}
	if n > most {
		return 0, 0, fmt.Errorf("frame %q of %d bytes, at most %d: %w", head[0], n, most, ErrProtocol)
	}
	return head[0], int(n), nil
}

// lost says that the HOST went away in the middle of a stream.
func lost(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("stream from host broke off: %w: %w", err, errdefs.ErrUnavailable)
}

// readEnd reads the payload of a result or error frame and gives what it says.
func readEnd(r io.Reader, kind byte, length int) (Result, error) {
	b := make([]byte, length)
	if _, err := io.ReadFull(r, b); err != nil {
		return Result{}, lost(err)
	}
	if kind == kindError {
		return Result{}, parseError(b)
	}
	return parseResult(b)
}

// ReadResult reads the end of an apply stream: the result, or the error the
// HOST sent instead.
func ReadResult(r io.Reader) (Result, error) {
	kind, n, err := readFrameHeader(r)
	if err != nil {
		return Result{}, err
	}
	if kind == kindData {
		return Result{}, fmt.Errorf("data on an apply stream: %w", ErrProtocol)
	}
	return readEnd(r, kind, n)
}

// DataWriter packs what is written to it into data frames of at most [MaxData].
// It buffers nothing. It is not safe for concurrent use.
type DataWriter struct {
	w   io.Writer
	buf []byte
}

// NewDataWriter gives a writer of data frames to w.
func NewDataWriter(w io.Writer) *DataWriter { return &DataWriter{w: w} }

// Write sends p in as many frames as it needs.
func (d *DataWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), MaxData)
		d.buf = append(d.buf[:0], kindData, 0, 0, 0, 0)
		binary.BigEndian.PutUint32(d.buf[1:], uint32(n))
		d.buf = append(d.buf, p[:n]...)
		if _, err := d.w.Write(d.buf); err != nil {
			return written, fmt.Errorf("send %d bytes of layer: %w", n, err)
		}
		written += n
		p = p[n:]
	}
	return written, nil
}

// DataReader gives the bytes of the data frames of a diff stream, and io.EOF
// once the HOST has ended it with a result, which [DataReader.Result] then
// gives. Any other ending is an error. It is not safe for concurrent use.
type DataReader struct {
	r      io.Reader
	left   int
	total  int64
	result Result
	err    error
}

// NewDataReader gives a reader of the frames in r.
func NewDataReader(r io.Reader) *DataReader { return &DataReader{r: r} }

// Read gives the next bytes of the layer.
func (d *DataReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for d.left == 0 {
		if d.err != nil {
			return 0, d.err
		}
		if d.err = d.next(); d.err != nil {
			return 0, d.err
		}
	}
	n, err := d.r.Read(p[:min(len(p), d.left)])
	d.left -= n
	if err != nil && (d.left > 0 || !errors.Is(err, io.EOF)) {
		d.left, d.err = 0, lost(err)
		return n, d.err
	}
	return n, nil
}

func (d *DataReader) next() error {
	kind, n, err := readFrameHeader(d.r)
	if err != nil {
		return err
	}
	if kind == kindData {
		if n == 0 {
			return fmt.Errorf("empty data frame: %w", ErrProtocol)
		}
		if d.total += int64(n); d.total > MaxLayer {
			return fmt.Errorf("layer of more than %d bytes: %w", int64(MaxLayer), ErrProtocol)
		}
		d.left = n
		return nil
	}
	if d.result, err = readEnd(d.r, kind, n); err != nil {
		return err
	}
	return io.EOF
}

// Result is what the HOST says about the layer. It is zero until Read has
// returned io.EOF.
func (d *DataReader) Result() Result { return d.result }
