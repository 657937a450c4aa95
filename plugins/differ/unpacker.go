// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package differ

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/container-offload/offload/plugins/wire"
)

// maxWindow bounds the memory a zstd layer from the HOST can ask for. Ours use
// 8 MiB at most.
const maxWindow = 32 << 20

// unpacker finds out the digest and size of the tar stream in a layer that is
// written to it. An image names its layers by these, so the HOST's word is not
// enough.
type unpacker struct {
	pipe *io.PipeWriter
	done chan unpacked
}

type unpacked struct {
	digest digest.Digest
	size   int64
	err    error
}

// newUnpacker starts an unpacker for a layer of the given OCI media type. It
// runs until finish is called.
func newUnpacker(mediaType string) (*unpacker, error) {
	var open func(io.Reader) (io.Reader, func(), error)
	switch mediaType {
	case ocispec.MediaTypeImageLayer:
		open = func(r io.Reader) (io.Reader, func(), error) { return r, func() {}, nil }
	case ocispec.MediaTypeImageLayerGzip:
		open = func(r io.Reader) (io.Reader, func(), error) {
			z, err := gzip.NewReader(r)
			return z, func() {}, err
		}
	case ocispec.MediaTypeImageLayerZstd:
		open = func(r io.Reader) (io.Reader, func(), error) {
			z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
			if err != nil {
				return nil, nil, err
			}
			return z, z.Close, nil
		}
	default:
		return nil, fmt.Errorf("no way to unpack media type %s", mediaType)
	}
	r, w := io.Pipe()
	u := &unpacker{pipe: w, done: make(chan unpacked, 1)}
	go func() {
		got := digestOf(r, open)
		_ = r.CloseWithError(got.err)
		u.done <- got
	}()
	return u, nil
}

func digestOf(r io.Reader, open func(io.Reader) (io.Reader, func(), error)) unpacked {
	tar, done, err := open(r)
	if err != nil {
		return unpacked{err: badLayer(err)}
	}
	defer done()
	hash := digest.Canonical.Digester()
	n, err := io.Copy(hash.Hash(), io.LimitReader(tar, wire.MaxLayer+1))
	switch {
	case err != nil:
		return unpacked{err: badLayer(err)}
	case n > wire.MaxLayer:
		return unpacked{err: badLayer(errors.New("it is too large"))}
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return unpacked{err: badLayer(err)}
	}
	return unpacked{digest: hash.Digest(), size: n}
}

func badLayer(err error) error {
	return fmt.Errorf("unpack layer from host: %w: %w", err, wire.ErrProtocol)
}

// Write takes the next bytes of the layer.
func (u *unpacker) Write(p []byte) (int, error) { return u.pipe.Write(p) }

// finish ends the layer, for err if that is not nil, and gives what was in it.
func (u *unpacker) finish(err error) (digest.Digest, int64, error) {
	_ = u.pipe.CloseWithError(err)
	got := <-u.done
	return got.digest, got.size, got.err
}
