// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package blobs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	introspection "github.com/containerd/containerd/api/services/introspection/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Store is containerd's content store whose blobs are read from the disk where that is possible, and by way of
// containerd where not. It is safe for concurrent use.
type Store struct {
	content.Store
	plugins introspection.IntrospectionClient

	mu   sync.Mutex
	root string // empty until containerd has said it
}

// New returns the content store of the containerd that about is of.
func New(store content.Store, about introspection.IntrospectionClient) *Store {
	return &Store{Store: store, plugins: about}
}

// ReaderAt opens a blob. That there is none in the caller's namespace is containerd's own error.
func (s *Store) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	info, err := s.Info(ctx, desc.Digest)
	if err != nil {
		return nil, err
	}
	if f := s.open(ctx, info); f != nil {
		return f, nil
	}
	return s.Store.ReaderAt(ctx, desc)
}

// open opens the blob's file, or returns nil if it is not where it is looked for.
func (s *Store) open(ctx context.Context, info content.Info) content.ReaderAt {
	root, err := s.where(ctx)
	if err != nil || root == "" {
		return nil
	}
	f, err := os.Open(filepath.Join(root, "blobs", info.Digest.Algorithm().String(), info.Digest.Encoded()))
	if err != nil {
		s.forget()
		return nil
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() != info.Size {
		f.Close()
		s.forget()
		return nil
	}
	return file{f, info.Size}
}

// where asks containerd once where its content is.
func (s *Store) where(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root != "" {
		return s.root, nil
	}
	answer, err := s.plugins.Plugins(ctx, &introspection.PluginsRequest{Filters: []string{"type==" + plugins.ContentPlugin.String()}})
	if err != nil {
		return "", fmt.Errorf("ask containerd where its content is: %w", err)
	}
	for _, p := range answer.GetPlugins() {
		if root := p.GetExports()["root"]; filepath.IsAbs(root) {
			s.root = root
		}
	}
	return s.root, nil
}

// forget has containerd asked again: it may have been started with another root.
func (s *Store) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.root = ""
}

// file is a blob on the disk.
type file struct {
	*os.File
	size int64
}

func (f file) Size() int64 { return f.size }
