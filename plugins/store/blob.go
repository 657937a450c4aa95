// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/container-offload/offload/plugins/wire"
)

// maxWindow bounds the memory a zstd layer can ask for: what "zstd --long" uses.
const maxWindow = 128 << 20

// blob reads a layer as it arrives and holds it to the size and digest it was
// announced with. It gives io.EOF only when both are right.
type blob struct {
	r    io.Reader
	want digest.Digest
	size int64
	got  int64
	hash hash.Hash
}

func newBlob(r io.Reader, want digest.Digest, size int64) *blob {
	return &blob{r: r, want: want, size: size, hash: want.Algorithm().Hash()}
}

func (b *blob) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.got += int64(n)
	_, _ = b.hash.Write(p[:n])
	if b.got > b.size {
		return 0, fmt.Errorf("layer %s: expected %d bytes, got more: %w", b.want, b.size, errdefs.ErrFailedPrecondition)
	}
	if errors.Is(err, io.EOF) {
		return n, b.verdict()
	}
	if err != nil {
		return n, fmt.Errorf("read layer %s after %d of %d bytes: %w", b.want, b.got, b.size, err)
	}
	return n, nil
}

func (b *blob) verdict() error {
	if b.got != b.size {
		return fmt.Errorf("layer %s: expected %d bytes, got %d: %w: %w", b.want, b.size, b.got, io.ErrUnexpectedEOF, errdefs.ErrFailedPrecondition)
	}
	if got := digest.NewDigest(b.want.Algorithm(), b.hash); got != b.want {
		return fmt.Errorf("layer digest: expected %s, got %s: %w", b.want, got, errdefs.ErrFailedPrecondition)
	}
	return io.EOF
}

// compression is how a layer is packed.
type compression string

const (
	plain   compression = "plain tar"
	gzipped compression = "gzip"
	zstded  compression = "zstd"
)

// sniff tells from a layer's first bytes how it is packed.
func sniff(head []byte) compression {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b, 0x08}):
		return gzipped
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return zstded
	case len(head) >= 8 && binary.LittleEndian.Uint32(head)&^0xf == 0x184d2a50: // a skippable frame
		return zstded
	}
	return plain
}

// packing decides how a layer that begins with head is packed. Its media type
// rules and its contents must agree, but for Docker's type for layers that may
// or may not be compressed. A layer of no bytes at all is an empty one.
func packing(mediaType string, head []byte) (compression, error) {
	named, err := images.DiffCompression(context.Background(), mediaType)
	if err != nil {
		return "", fmt.Errorf("layer media type %q: %w: %w", mediaType, err, errdefs.ErrInvalidArgument)
	}
	found := sniff(head)
	if named == "unknown" || len(head) == 0 {
		return found, nil
	}
	want := map[string]compression{"": plain, "gzip": gzipped, "zstd": zstded}[named]
	if want != found {
		return "", fmt.Errorf("layer of media type %q: expected %s, got %s: %w", mediaType, want, found, errdefs.ErrInvalidArgument)
	}
	return found, nil
}

// layer is the tar stream of a blob, unpacked while the blob arrives.
type layer struct {
	tar  *readAhead
	hash digest.Digester
	size int64
}

// openLayer starts to decompress r, which gives the blob. The caller must call
// close, and end what r reads from if the layer was not read to its end.
func openLayer(mediaType string, r io.Reader) (*layer, error) {
	arriving := newReadAhead(r, nil)
	buffered := bufio.NewReaderSize(arriving, 64<<10)
	head, err := buffered.Peek(8)
	if err != nil && !errors.Is(err, io.EOF) {
		arriving.close()
		return nil, err
	}
	how, err := packing(mediaType, head)
	if err != nil {
		arriving.close()
		return nil, err
	}
	l := &layer{hash: digest.Canonical.Digester()}
	var unpacked io.Reader
	done := arriving.close
	switch how {
	case gzipped:
		unpacked, err = gzip.NewReader(buffered)
	case zstded:
		var z *zstd.Decoder
		if z, err = zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(maxWindow)); err == nil {
			unpacked, done = z, func() { arriving.close(); z.Close() }
		}
	default:
		unpacked = buffered
	}
	if err != nil {
		arriving.close()
		return nil, fmt.Errorf("unpack %s: %w: %w", how, err, errdefs.ErrInvalidArgument)
	}
	l.tar = newReadAhead(&packedReader{r: unpacked, blob: buffered, how: how}, done)
	return l, nil
}

// packedReader says what was being unpacked when unpacking fails, and goes on
// to the end of the blob after the end of what was packed in it, since only
// there it is known to be the right one.
type packedReader struct {
	r, blob io.Reader
	how     compression
	size    int64
}

func (p *packedReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.size += int64(n)
	switch {
	case p.size > wire.MaxLayer:
		return 0, fmt.Errorf("unpacked layer of more than %d bytes: %w", int64(wire.MaxLayer), errdefs.ErrResourceExhausted)
	case errors.Is(err, io.EOF):
		if _, err := io.Copy(io.Discard, p.blob); err != nil {
			return n, err
		}
		return n, io.EOF
	case err != nil && p.how != plain && !errdefs.IsFailedPrecondition(err):
		return n, fmt.Errorf("unpack %s: %w", p.how, err)
	}
	return n, err
}

// Read gives the tar stream.
func (l *layer) Read(p []byte) (int, error) {
	n, err := l.tar.Read(p)
	l.size += int64(n)
	_, _ = l.hash.Hash().Write(p[:n])
	return n, err
}

func (l *layer) result() wire.Result {
	return wire.Result{Uncompressed: l.hash.Digest(), UncompressedSize: l.size}
}

func (l *layer) close() { l.tar.close() }
