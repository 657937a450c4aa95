// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package differ

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/container-offload/offload/plugins/wire"
)

const (
	// sendBuffer is how much of a layer is read and sent at a time. Two are in
	// use while a layer is sent.
	sendBuffer = 1 << 20
	// lastWords is how long to wait for the HOST to say why it stopped taking a
	// layer.
	lastWords = 5 * time.Second
)

// Apply unpacks the layer desc into the HOST's snapshot that mounts are of, and
// gives the descriptor of the layer's tar stream. If it fails the snapshot is of
// no more use and the caller removes it.
func (d *Differ) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (_ ocispec.Descriptor, err error) {
	defer func() { err = wire.Flat(err) }()
	var config diff.ApplyConfig
	for _, o := range opts {
		if err := o(ctx, desc, &config); err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("apply option: %w", err)
		}
	}
	id, layered, err := d.snapshot(mounts)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := known(ctx, desc.MediaType); err != nil {
		return ocispec.Descriptor{}, err
	}
	if ctx, err = forward(ctx); err != nil {
		return ocispec.Descriptor{}, err
	}
	blob, err := d.content.ReaderAt(ctx, desc)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("open layer %s: %w", desc.Digest, err)
	}
	defer blob.Close()
	if desc.Size != 0 && desc.Size != blob.Size() {
		return ocispec.Descriptor{}, fmt.Errorf("layer %s: expected %d bytes, got %d: %w", desc.Digest, desc.Size, blob.Size(), errdefs.ErrFailedPrecondition)
	}
	result, err := d.send(ctx, wire.ApplyRequest{
		Snapshot:  id,
		MediaType: desc.MediaType,
		Digest:    desc.Digest,
		Size:      blob.Size(),
		Layered:   layered,
		Sync:      config.SyncFs,
	}, blob, config.Progress)
	if wire.FromHost(err) {
		return ocispec.Descriptor{}, err
	} else if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("unpack layer %s on host: %w", desc.Digest, err)
	}
	return ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageLayer,
		Digest:    result.Uncompressed,
		Size:      result.UncompressedSize,
	}, nil
}

// known fails for media types the HOST does not unpack: those that are no tar
// layer, and those that need another step first, such as decryption.
func known(ctx context.Context, mediaType string) error {
	if _, err := images.DiffCompression(ctx, mediaType); err != nil {
		return err
	}
	_, suffixes, _ := strings.Cut(mediaType, "+")
	switch suffixes {
	case "", "gzip", "zstd":
		return nil
	}
	return fmt.Errorf("media type %s: %w", mediaType, errdefs.ErrNotImplemented)
}

// send streams a blob to the HOST and gives its answer.
func (d *Differ) send(ctx context.Context, req wire.ApplyRequest, blob content.ReaderAt, progress func(int64)) (wire.Result, error) {
	if progress == nil {
		progress = func(int64) {}
	}
	header, err := req.Encode()
	if err != nil {
		return wire.Result{}, err
	}
	conn, err := d.open(ctx, wire.ServiceApply, header)
	if err != nil {
		return wire.Result{}, unreachable(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	progress(0)
	answered := make(chan answer, 1)
	go func() {
		r, err := wire.ReadResult(conn)
		answered <- answer{r, err}
	}()
	sent := stream(conn, blob, progress)
	if sent != nil {
		return wire.Result{}, reason(ctx, sent, answered)
	}
	a := <-answered
	if a.err != nil {
		return wire.Result{}, cause(ctx, a.err)
	}
	progress(req.Size)
	return a.result, nil
}

// unreachable is the error of a stream that could not be opened.
func unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("reach snapshot store: %w: %w", err, errdefs.ErrUnavailable)
}

type answer struct {
	result wire.Result
	err    error
}

// reason gives the best account of why sending failed: the reader of the blob,
// the caller's patience, what the HOST says, or else the failure itself.
func reason(ctx context.Context, sent error, answered <-chan answer) error {
	var local *readError
	if errors.As(sent, &local) || ctx.Err() != nil {
		return cause(ctx, sent)
	}
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case a := <-answered:
		if a.err != nil && !errdefs.IsUnavailable(a.err) {
			return a.err
		}
	case <-timer.C:
	case <-ctx.Done():
		return cause(ctx, sent)
	}
	return fmt.Errorf("%w: %w", sent, errdefs.ErrUnavailable)
}

// cause puts the end of ctx, which closes the stream, before what came of that.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// readError is a failure on the DPU's side of a layer.
type readError struct{ err error }

func (e *readError) Error() string { return fmt.Sprintf("read layer: %v", e.err) }
func (e *readError) Unwrap() error { return e.err }

// stream sends the whole blob, reading the next piece while one is being sent.
func stream(conn net.Conn, blob content.ReaderAt, progress func(int64)) error {
	type piece struct {
		buf []byte
		err error
	}
	pieces, empty, stop := make(chan piece), make(chan []byte, 2), make(chan struct{})
	defer close(stop)
	n := min(blob.Size(), sendBuffer)
	empty <- make([]byte, n)
	if n < blob.Size() {
		empty <- make([]byte, n)
	}
	go func() {
		defer close(pieces)
		for off := int64(0); off < blob.Size(); {
			var buf []byte
			select {
			case buf = <-empty:
			case <-stop:
				return
			}
			buf = buf[:min(int64(len(buf)), blob.Size()-off)]
			_, err := io.ReadFull(io.NewSectionReader(blob, off, int64(len(buf))), buf)
			off += int64(len(buf))
			select {
			case pieces <- piece{buf, err}:
			case <-stop:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	var sent int64
	for p := range pieces {
		if p.err != nil {
			return &readError{p.err}
		}
		if _, err := conn.Write(p.buf); err != nil {
			return fmt.Errorf("send layer after %d of %d bytes: %w", sent, blob.Size(), err)
		}
		sent += int64(len(p.buf))
		if sent < blob.Size() {
			progress(sent)
		}
		empty <- p.buf[:cap(p.buf)]
	}
	if err := wire.CloseWrite(conn); err != nil {
		return fmt.Errorf("end layer: %w", err)
	}
	return nil
}
