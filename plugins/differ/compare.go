// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package differ

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/epoch"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/container-offload/offload/plugins/wire"
)

// Compare makes the layer that turns the lower snapshot into the upper one and
// puts it into the content store. No lower mounts stand for an empty directory.
// The content carries the label containerd.io/uncompressed.
func (d *Differ) Compare(ctx context.Context, lower, upper []mount.Mount, opts ...diff.Opt) (_ ocispec.Descriptor, err error) {
	defer func() { err = wire.Flat(err) }()
	var config diff.Config
	for _, o := range opts {
		if err := o(&config); err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("diff option: %w", err)
		}
	}
	req, err := d.request(ctx, lower, upper, &config)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if ctx, err = forward(ctx); err != nil {
		return ocispec.Descriptor{}, err
	}
	desc, err := d.receive(ctx, req, &config)
	if wire.FromHost(err) {
		return ocispec.Descriptor{}, err
	} else if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("make layer of snapshot %s on host: %w", req.Upper, err)
	}
	return desc, nil
}

// request decides what to ask the HOST for, and fills in what config leaves out.
func (d *Differ) request(ctx context.Context, lower, upper []mount.Mount, config *diff.Config) (req wire.DiffRequest, err error) {
	if len(lower) > 0 {
		if req.Lower, _, err = d.snapshot(lower); err != nil {
			return wire.DiffRequest{}, fmt.Errorf("lower %w", err)
		}
	}
	if req.Upper, _, err = d.snapshot(upper); err != nil {
		return wire.DiffRequest{}, fmt.Errorf("upper %w", err)
	}
	if req.Epoch = config.SourceDateEpoch; req.Epoch == nil {
		req.Epoch = epoch.FromContext(ctx)
	}
	if config.Compressor != nil {
		if config.MediaType == "" {
			return wire.DiffRequest{}, fmt.Errorf("a compressor needs a media type: %w", errdefs.ErrInvalidArgument)
		}
		req.MediaType = ocispec.MediaTypeImageLayer
		return req, nil
	}
	if config.MediaType == "" {
		config.MediaType = ocispec.MediaTypeImageLayerGzip
	}
	switch config.MediaType {
	case ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd:
		req.MediaType = config.MediaType
		return req, nil
	}
	return wire.DiffRequest{}, fmt.Errorf("diff media type %s: %w", config.MediaType, errdefs.ErrNotImplemented)
}

// receive streams a layer from the HOST into the content store.
func (d *Differ) receive(ctx context.Context, req wire.DiffRequest, config *diff.Config) (_ ocispec.Descriptor, err error) {
	header, err := req.Encode()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	ref, fresh := config.Reference, config.Reference == ""
	if fresh {
		ref = "offload-diff-" + rand.Text()
	}
	if ctx, err = d.kept(ctx); err != nil {
		return ocispec.Descriptor{}, err
	}
	cw, err := d.content.Writer(ctx, content.WithRef(ref), content.WithDescriptor(ocispec.Descriptor{MediaType: config.MediaType}))
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("open content writer: %w", err)
	}
	defer func() {
		_ = cw.Close()
		if err != nil && fresh {
			// The caller may have gone; what it leaves behind must not stay.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
			defer cancel()
			_ = d.content.Abort(ctx, ref)
		}
	}()
	if !fresh {
		if err := cw.Truncate(0); err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("restart content %q: %w", ref, err)
		}
	}
	conn, err := d.open(ctx, wire.ServiceDiff, header)
	if err != nil {
		return ocispec.Descriptor{}, unreachable(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	got, err := store(conn, cw, req, config)
	if err != nil {
		return ocispec.Descriptor{}, cause(ctx, err)
	}
	return d.commit(ctx, cw, config, got)
}

// keepTime is how long a layer is kept that nobody refers to: more than it takes
// to make an image of it.
const keepTime = 10 * time.Minute

// kept makes a context whose new content is kept for a while, unless the caller's
// own lease does that.
func (d *Differ) kept(ctx context.Context) (context.Context, error) {
	if _, ok := leases.FromContext(ctx); ok || d.leases == nil {
		return ctx, nil
	}
	l, err := d.leases.Create(ctx, leases.WithID("offload-diff-"+rand.Text()), leases.WithExpiration(keepTime))
	if err != nil {
		return nil, fmt.Errorf("create lease of layer: %w", err)
	}
	return leases.WithLease(ctx, l.ID), nil
}

// received is a layer in the content store: its own digest and size, and the
// digest of its tar stream.
type received struct {
	digest       digest.Digest
	size         int64
	uncompressed digest.Digest
}

// store copies a layer from the HOST into the content store and checks what the
// HOST says about it.
func store(conn io.Reader, cw io.Writer, req wire.DiffRequest, config *diff.Config) (received, error) {
	data := wire.NewDataReader(bufio.NewReaderSize(conn, wire.MaxData))
	buffered := bufio.NewWriterSize(cw, sendBuffer)
	packed := &measured{w: buffered, hash: digest.Canonical.Digester()}
	sink := io.WriteCloser(nopCloser{packed})
	if config.Compressor != nil {
		var err error
		if sink, err = config.Compressor(packed, config.MediaType); err != nil {
			return received{}, fmt.Errorf("compress layer: %w", err)
		}
	}
	check, err := newUnpacker(req.MediaType)
	if err != nil {
		return received{}, err
	}
	_, err = io.CopyBuffer(io.MultiWriter(sink, check), data, make([]byte, wire.MaxData))
	uncompressed, size, cerr := check.finish(err)
	if err != nil {
		return received{}, err
	}
	if cerr != nil {
		return received{}, cerr
	}
	if said := data.Result(); said.Uncompressed != uncompressed || said.UncompressedSize != size {
		return received{}, fmt.Errorf("host says its layer is %s of %d bytes, got %s of %d: %w", said.Uncompressed, said.UncompressedSize, uncompressed, size, wire.ErrProtocol)
	}
	if err := sink.Close(); err != nil {
		return received{}, fmt.Errorf("finish layer: %w", err)
	}
	if err := buffered.Flush(); err != nil {
		return received{}, fmt.Errorf("write layer: %w", err)
	}
	return received{digest: packed.hash.Digest(), size: packed.n, uncompressed: uncompressed}, nil
}

// commit makes the layer a blob. One that is there already is as good, once it
// has its label.
func (d *Differ) commit(ctx context.Context, cw content.Writer, config *diff.Config, got received) (ocispec.Descriptor, error) {
	all := map[string]string{}
	maps.Copy(all, config.Labels)
	all[labels.LabelUncompressed] = got.uncompressed.String()
	if err := cw.Commit(ctx, got.size, got.digest, content.WithLabels(all)); err != nil && !errdefs.IsAlreadyExists(err) {
		return ocispec.Descriptor{}, fmt.Errorf("commit layer %s: %w", got.digest, err)
	}
	info, err := d.content.Info(ctx, got.digest)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("look up layer %s: %w", got.digest, err)
	}
	if info.Labels[labels.LabelUncompressed] == "" {
		info.Labels = map[string]string{labels.LabelUncompressed: got.uncompressed.String()}
		if _, err := d.content.Update(ctx, info, "labels."+labels.LabelUncompressed); err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("label layer %s: %w", got.digest, err)
		}
	}
	return ocispec.Descriptor{MediaType: config.MediaType, Digest: got.digest, Size: got.size}, nil
}

// measured counts and digests what it passes on.
type measured struct {
	w    io.Writer
	n    int64
	hash digest.Digester
}

func (m *measured) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	m.n += int64(n)
	_, _ = m.hash.Hash().Write(p[:n])
	return n, err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
