// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// The services a store offers on a link.
const (
	// ServiceSnapshots is containerd's snapshots.v1 service over ttrpc.
	ServiceSnapshots = "snapshots"
	// ServiceApply takes one layer per stream and unpacks it.
	ServiceApply = "apply"
	// ServiceDiff computes one layer per stream and sends it.
	ServiceDiff = "diff"
)

// Limits on what either side accepts, in bytes unless said otherwise.
const (
	// MaxHeader bounds the header of an apply or diff stream.
	MaxHeader = 4096
	// MaxMediaType bounds a media type.
	MaxMediaType = 255
	// MaxLayer bounds a layer, compressed or not: 1 TiB.
	MaxLayer = 1 << 40
)

// Open starts a stream to a service of the HOST. header reaches the service
// before the first byte of the stream. Every connection it returns also has
// CloseWrite() error, which ends the stream in one direction.
//
// The context bounds the opening only, not the life of the stream.
type Open func(ctx context.Context, service string, header []byte) (net.Conn, error)

// CloseWrite ends conn's outgoing direction, so that the other side reads the
// end of the stream while it can still answer.
func CloseWrite(conn net.Conn) error {
	c, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("close the sending side of %T: %w", conn, errdefs.ErrNotImplemented)
	}
	return c.CloseWrite()
}

// ApplyRequest is the header of an apply stream: which blob to unpack into
// which snapshot. Exactly Size bytes follow it on the stream.
type ApplyRequest struct {
	Snapshot ID
	// MediaType of the blob as sent; it decides how to decompress it.
	MediaType string
	// Digest and Size of the blob as sent.
	Digest digest.Digest
	Size   int64
	// Layered asks for whiteouts as overlayfs stores them, though the snapshot
	// has no parent: it will get one when it is committed.
	Layered bool
	// Sync asks for the snapshot's filesystem to be synced before the answer.
	Sync bool
}

type applyHeader struct {
	Version   int    `json:"version"`
	Snapshot  string `json:"snapshot"`
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
	Layered   bool   `json:"layered,omitempty"`
	Sync      bool   `json:"sync,omitempty"`
}

// version is the only version of the headers there is. A header with any other
// is refused.
const version = 1

// Encode gives the stream header, or an error if r is not valid.
func (r ApplyRequest) Encode() ([]byte, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	return encodeHeader(applyHeader{
		Version:   version,
		Snapshot:  r.Snapshot.String(),
		MediaType: r.MediaType,
		Digest:    r.Digest.String(),
		Size:      r.Size,
		Layered:   r.Layered,
		Sync:      r.Sync,
	})
}

func (r ApplyRequest) validate() error {
	if r.Snapshot == 0 {
		return fmt.Errorf("apply request without a snapshot: %w", errdefs.ErrInvalidArgument)
	}
	if err := validMediaType(r.MediaType); err != nil {
		return err
	}
	return validBlob(r.Digest, r.Size)
}

// ParseApply reads the header of an apply stream.
func ParseApply(header []byte) (ApplyRequest, error) {
	var h applyHeader
	if err := decodeHeader(header, &h); err != nil {
		return ApplyRequest{}, fmt.Errorf("apply request: %w", err)
	}
	if h.Version != version {
		return ApplyRequest{}, fmt.Errorf("apply request of version %d, only %d is known: %w", h.Version, version, errdefs.ErrInvalidArgument)
	}
	id, err := ParseID(h.Snapshot)
	if err != nil {
		return ApplyRequest{}, fmt.Errorf("apply request: %w", err)
	}
	r := ApplyRequest{
		Snapshot:  id,
		MediaType: h.MediaType,
		Digest:    digest.Digest(h.Digest),
		Size:      h.Size,
		Layered:   h.Layered,
		Sync:      h.Sync,
	}
	if err := r.validate(); err != nil {
		return ApplyRequest{}, fmt.Errorf("apply request: %w", err)
	}
	return r, nil
}

// DiffRequest is the header of a diff stream: which two snapshots to compare
// and how to pack the difference. Nothing follows it from the DPU.
type DiffRequest struct {
	// Lower is the snapshot to compare against, zero for an empty directory.
	Lower ID
	Upper ID
	// MediaType of the layer wanted: an OCI layer, plain, gzip or zstd.
	MediaType string
	// Epoch, if set, is the newest modification time the layer may name.
	Epoch *time.Time
}

type diffHeader struct {
	Version   int        `json:"version"`
	Lower     string     `json:"lower,omitempty"`
	Upper     string     `json:"upper"`
	MediaType string     `json:"mediaType"`
	Epoch     *time.Time `json:"epoch,omitempty"`
}

// Encode gives the stream header, or an error if r is not valid.
func (r DiffRequest) Encode() ([]byte, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	h := diffHeader{Version: version, Upper: r.Upper.String(), MediaType: r.MediaType}
	if r.Lower != 0 {
		h.Lower = r.Lower.String()
	}
	if r.Epoch != nil {
		utc := r.Epoch.UTC()
		h.Epoch = &utc
	}
	return encodeHeader(h)
}

func (r DiffRequest) validate() error {
	if r.Upper == 0 {
		return fmt.Errorf("diff request without an upper snapshot: %w", errdefs.ErrInvalidArgument)
	}
	return validMediaType(r.MediaType)
}

// ParseDiff reads the header of a diff stream.
func ParseDiff(header []byte) (DiffRequest, error) {
	var h diffHeader
	if err := decodeHeader(header, &h); err != nil {
		return DiffRequest{}, fmt.Errorf("diff request: %w", err)
	}
	if h.Version != version {
		return DiffRequest{}, fmt.Errorf("diff request of version %d, only %d is known: %w", h.Version, version, errdefs.ErrInvalidArgument)
	}
	r := DiffRequest{MediaType: h.MediaType, Epoch: h.Epoch}
	var err error
	if h.Lower != "" {
		if r.Lower, err = ParseID(h.Lower); err != nil {
			return DiffRequest{}, fmt.Errorf("diff request, lower: %w", err)
		}
	}
	if r.Upper, err = ParseID(h.Upper); err != nil {
		return DiffRequest{}, fmt.Errorf("diff request, upper: %w", err)
	}
	if err := r.validate(); err != nil {
		return DiffRequest{}, fmt.Errorf("diff request: %w", err)
	}
	return r, nil
}

func encodeHeader(h any) ([]byte, error) {
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode stream header: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if len(b) > MaxHeader {
		return nil, fmt.Errorf("stream header of %d bytes, at most %d: %w", len(b), MaxHeader, errdefs.ErrInvalidArgument)
	}
	return b, nil
}

func decodeHeader(b []byte, h any) error {
	if len(b) > MaxHeader {
		return fmt.Errorf("header of %d bytes, at most %d: %w", len(b), MaxHeader, errdefs.ErrInvalidArgument)
	}
	if err := decodeStrict(b, h); err != nil {
		return fmt.Errorf("decode header: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return nil
}

// decodeStrict reads exactly one JSON value with no fields but the known ones.
func decodeStrict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

func validMediaType(mt string) error {
	if mt == "" || len(mt) > MaxMediaType {
		return fmt.Errorf("media type of %d bytes, 1 to %d are allowed: %w", len(mt), MaxMediaType, errdefs.ErrInvalidArgument)
	}
	for _, c := range []byte(mt) {
		if c <= ' ' || c >= 0x7f {
			return fmt.Errorf("media type %s is not printable ASCII: %w", quote(mt), errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

func validBlob(d digest.Digest, size int64) error {
	if len(d) > 256 {
		return fmt.Errorf("digest of %d bytes: %w", len(d), errdefs.ErrInvalidArgument)
	}
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %s: %w: %w", quote(d.String()), err, errdefs.ErrInvalidArgument)
	}
	if size < 0 || size > MaxLayer {
		return fmt.Errorf("size of %d bytes, 0 to %d are allowed: %w", size, int64(MaxLayer), errdefs.ErrInvalidArgument)
	}
	return nil
}
