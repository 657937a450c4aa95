// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package blobs

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	introspection "github.com/containerd/containerd/api/services/introspection/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
)

// detour is a store whose own readers are told from files.
type detour struct {
	content.Store
	reads int
}

func (d *detour) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	d.reads++
	return d.Store.ReaderAt(ctx, desc)
}

// says answers for containerd where its content is.
type says struct {
	introspection.IntrospectionClient
	root  string
	err   error
	asked int
}

func (s *says) Plugins(_ context.Context, req *introspection.PluginsRequest, _ ...grpc.CallOption) (*introspection.PluginsResponse, error) {
	s.asked++
	if len(req.Filters) != 1 || req.Filters[0] != "type==io.containerd.content.v1" {
		return nil, errors.New("asked for something else")
	}
	return &introspection.PluginsResponse{Plugins: []*introspection.Plugin{{Exports: map[string]string{"root": s.root}}}}, s.err
}

// rig is a store with a blob.
func rig(t *testing.T, text string) (*detour, string, ocispec.Descriptor) {
	t.Helper()
	root := t.TempDir()
	store, err := local.NewStore(root)
	if err != nil {
		t.Fatal(err)
	}
	desc := ocispec.Descriptor{Digest: digest.FromString(text), Size: int64(len(text))}
	if err := content.WriteBlob(t.Context(), store, "x", strings.NewReader(text), desc); err != nil {
		t.Fatal(err)
	}
	return &detour{Store: store}, root, desc
}

func read(t *testing.T, s *Store, desc ocispec.Descriptor) string {
	t.Helper()
	r, err := s.ReaderAt(t.Context(), desc)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFromDisk(t *testing.T) {
	store, root, desc := rig(t, "a layer")
	about := &says{root: root}
	s := New(store, about)
	for range 3 {
		if got := read(t, s, desc); got != "a layer" {
			t.Errorf("read %q", got)
		}
	}
	if store.reads != 0 || about.asked != 1 {
		t.Errorf("%d readers of the store's, %d questions", store.reads, about.asked)
	}
}

func TestByWayOfContainerd(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, about *says, desc ocispec.Descriptor){
		"no answer":       func(_ *testing.T, about *says, _ ocispec.Descriptor) { about.err = errors.New("not now") },
		"no root":         func(_ *testing.T, about *says, _ ocispec.Descriptor) { about.root = "" },
		"a relative root": func(_ *testing.T, about *says, _ ocispec.Descriptor) { about.root = "content" },
		"another machine": func(t *testing.T, about *says, _ ocispec.Descriptor) { about.root = t.TempDir() },
		"another file": func(t *testing.T, about *says, desc ocispec.Descriptor) {
			about.root = t.TempDir()
			dir := filepath.Join(about.root, "blobs", "sha256")
			if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, desc.Digest.Encoded()), []byte("half"), 0o600)); err != nil {
				t.Fatal(err)
			}
		},
		"a directory": func(t *testing.T, about *says, desc ocispec.Descriptor) {
			about.root = t.TempDir()
			if err := os.MkdirAll(filepath.Join(about.root, "blobs", "sha256", desc.Digest.Encoded()), 0o700); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			store, root, desc := rig(t, "a layer")
			about := &says{root: root}
			right := *about
			spoil(t, about, desc)
			s := New(store, about)
			if got := read(t, s, desc); got != "a layer" || store.reads != 1 {
				t.Errorf("read %q with %d readers of the store's", got, store.reads)
			}
			// And from the disk once containerd says where.
			*about = right
			if got := read(t, s, desc); got != "a layer" || store.reads != 1 {
				t.Errorf("then read %q with %d readers of the store's", got, store.reads)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	store, root, desc := rig(t, "a layer")
	s := New(store, &says{root: root})
	absent := ocispec.Descriptor{Digest: digest.FromString("another")}
	// It is on the disk, and not for this caller.
	blob := filepath.Join(root, "blobs", "sha256")
	if err := os.Link(filepath.Join(blob, desc.Digest.Encoded()), filepath.Join(blob, "..", absent.Digest.Encoded())); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReaderAt(t.Context(), absent); !errdefs.IsNotFound(err) {
		t.Errorf("absent: %v", err)
	}
	for _, bad := range []digest.Digest{"", "sha256:../../x", "sha256:" + digest.Digest(absent.Digest.Encoded()[1:])} {
		if _, err := s.ReaderAt(t.Context(), ocispec.Descriptor{Digest: bad}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
