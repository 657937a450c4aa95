// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/container-offload/offload/plugins/wire"
)

// Diff writes the layer that turns the lower snapshot into the upper one, packed
// as the request's media type says. Both snapshots stay as they are meanwhile,
// but what runs in them may go on writing.
func (s *Store) Diff(ctx context.Context, req wire.DiffRequest, w io.Writer) (wire.Result, error) {
	result, err := s.diff(ctx, req, w)
	if err != nil {
		return wire.Result{}, wire.Kind(fmt.Errorf("diff snapshot %s against %s: %w", req.Upper, req.Lower, err))
	}
	return result, nil
}

func (s *Store) diff(ctx context.Context, req wire.DiffRequest, w io.Writer) (_ wire.Result, err error) {
	lower, upper, release, err := s.hold(ctx, req)
	if err != nil {
		return wire.Result{}, err
	}
	defer release()
	buffered := bufio.NewWriterSize(w, wire.MaxData)
	packed, err := compressor(req.MediaType, buffered)
	if err != nil {
		return wire.Result{}, err
	}
	counted := &counter{w: packed, hash: digest.Canonical.Digester()}
	var opts []archive.WriteDiffOpt
	if req.Epoch != nil {
		opts = append(opts, archive.WithSourceDateEpoch(req.Epoch))
	}
	if err := archive.WriteDiff(ctx, counted, lower, upper, opts...); err != nil {
		_ = packed.Close()
		return wire.Result{}, err
	}
	if err := packed.Close(); err != nil {
		return wire.Result{}, fmt.Errorf("finish layer: %w", err)
	}
	if err := buffered.Flush(); err != nil {
		return wire.Result{}, err
	}
	return wire.Result{Uncompressed: counted.hash.Digest(), UncompressedSize: counted.n}, nil
}

// hold mounts both snapshots of a diff and keeps them from being changed,
// committed or removed until release is called. Locks are taken in the order of
// their ids, since two diffs may want the same two.
func (s *Store) hold(ctx context.Context, req wire.DiffRequest) (lower, upper string, release func(), err error) {
	var undo []func()
	release = func() {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	upper = s.viewPath(req.Upper)
	ids := []wire.ID{req.Upper}
	switch req.Lower {
	case 0:
		if lower, err = s.emptyDir(); err != nil {
			return "", "", nil, err
		}
		undo = append(undo, func() { _ = os.Remove(lower) })
	case req.Upper:
		lower = upper
	default:
		lower = s.viewPath(req.Lower)
		ids = []wire.ID{min(req.Lower, req.Upper), max(req.Lower, req.Upper)}
	}
	for _, id := range ids {
		unlock, err := s.locks.rlock(ctx, id, func() error { return s.mount(ctx, id) })
		if err != nil {
			return "", "", nil, err
		}
		undo = append(undo, unlock)
	}
	return lower, upper, release, nil
}

func (s *Store) emptyDir() (string, error) {
	dir, err := os.MkdirTemp(s.tree, ".empty-")
	if err != nil {
		return "", fmt.Errorf("make an empty directory to compare against: %w", err)
	}
	return filepath.Clean(dir), nil
}

// compressor packs a tar stream the way an OCI media type says.
func compressor(mediaType string, w io.Writer) (io.WriteCloser, error) {
	switch mediaType {
	case ocispec.MediaTypeImageLayer:
		return nopCloser{w}, nil
	case ocispec.MediaTypeImageLayerGzip:
		return gzip.NewWriter(w), nil
	case ocispec.MediaTypeImageLayerZstd:
		return zstd.NewWriter(w)
	}
	return nil, fmt.Errorf("make a layer of media type %q: %w", mediaType, errdefs.ErrInvalidArgument)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// counter measures and digests what it passes on.
type counter struct {
	w    io.Writer
	n    int64
	hash digest.Digester
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	_, _ = c.hash.Hash().Write(p[:n])
	return n, err
}
