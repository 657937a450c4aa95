// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package differ

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"

	"github.com/container-offload/offload/plugins/wire"
)

// Options say how a differ tells the HOST's snapshots from other mounts.
type Options struct {
	// Root is where the DPU has the HOST's tree mounted: the same absolute path
	// the snapshotter has.
	Root string
	// Leases, if set, keep a layer that was made for a caller whose own lease is
	// not known here until the caller has referred to it: containerd does not
	// tell a proxy plugin of the lease.
	Leases leases.Manager
}

// Differ unpacks layers into the HOST's snapshots and makes layers of them. It
// is safe for concurrent use.
type Differ struct {
	open    wire.Open
	content content.Store
	leases  leases.Manager
	root    string
}

var (
	_ diff.Applier  = (*Differ)(nil)
	_ diff.Comparer = (*Differ)(nil)
)

// New gives a differ that finds layers in content, and puts them there, and
// reaches the HOST's store with open. content is used with the namespace and the
// lease of each call.
func New(open wire.Open, content content.Store, opts Options) (*Differ, error) {
	if !filepath.IsAbs(opts.Root) {
		return nil, fmt.Errorf("differ root %q is not absolute: %w", opts.Root, errdefs.ErrInvalidArgument)
	}
	return &Differ{open: open, content: content, leases: opts.Leases, root: filepath.Clean(opts.Root)}, nil
}

// forward makes a context that has come with a request good for requests of our
// own: its namespace and lease go along.
func forward(ctx context.Context) (context.Context, error) {
	ns, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, err
	}
	ctx = namespaces.WithNamespace(ctx, ns)
	if lease, ok := leases.FromContext(ctx); ok {
		ctx = leases.WithLease(ctx, lease)
	}
	return ctx, nil
}

// snapshot tells which of the HOST's snapshots mounts are of. layered is set for
// mounts in overlay's form, with which containerd asks for a layer to be unpacked
// as overlayfs stores it before the snapshot has its parent.
func (d *Differ) snapshot(mounts []mount.Mount) (id wire.ID, layered bool, err error) {
	notOurs := func(why string) error {
		return fmt.Errorf("mounts are not of a snapshot on the host: %s: %w", why, errdefs.ErrNotImplemented)
	}
	if len(mounts) != 1 {
		return 0, false, notOurs(fmt.Sprintf("there are %d", len(mounts)))
	}
	m := mounts[0]
	source := m.Source
	switch m.Type {
	case "bind":
	case "overlay":
		layered = true
		if source, err = onlyUpper(m.Options); err != nil {
			return 0, false, notOurs(err.Error())
		}
	default:
		return 0, false, notOurs("type is " + m.Type)
	}
	rel, below := strings.CutPrefix(source, d.root+"/")
	if !below || m.Target != "" {
		return 0, false, notOurs("source is " + source)
	}
	if id, err = wire.ParseSource(rel); err != nil {
		return 0, false, notOurs("source is " + source)
	}
	return id, layered, nil
}

// onlyUpper gives the upper directory of an overlay that has nothing else.
func onlyUpper(options []string) (string, error) {
	i := slices.IndexFunc(options, func(o string) bool { return strings.HasPrefix(o, "upperdir=") })
	if i < 0 {
		return "", fmt.Errorf("overlay without upper directory")
	}
	for j, o := range options {
		if j != i && o != "rw" && o != "ro" {
			return "", fmt.Errorf("overlay with option %s", o)
		}
	}
	return strings.TrimPrefix(options[i], "upperdir="), nil
}
