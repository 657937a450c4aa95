// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// entry is one file of a layer. Its header's Size is filled in from data.
type entry struct {
	header tar.Header
	data   []byte
}

func directory(name string, mode int64) entry {
	return entry{header: tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}}
}

func file(name string, mode int64, data []byte) entry {
	return entry{header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, data: data}
}

func symlink(name, to string) entry {
	return entry{header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}}
}

// copied is a file of the tree, by what its links lead to, under the name it has there.
func copied(tree, name string) (entry, error) {
	path, err := filepath.EvalSymlinks(filepath.Join(tree, name))
	if err != nil {
		return entry{}, fmt.Errorf("copy %s: %w", name, err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return entry{}, fmt.Errorf("copy %s: %w", name, err)
	}
	return file(name, 0o755, data), nil
}

// parents adds the directories that entries are in, where these lack, in front of them.
func parents(entries []entry) []entry {
	have := map[string]bool{".": true}
	for _, e := range entries {
		have[strings.TrimSuffix(e.header.Name, "/")] = true
	}
	var made []entry
	for _, e := range entries {
		for dir := filepath.Dir(strings.TrimSuffix(e.header.Name, "/")); !have[dir]; dir = filepath.Dir(dir) {
			have[dir] = true
			made = append(made, directory(dir, 0o755))
		}
	}
	slices.SortFunc(made, func(a, b entry) int { return strings.Compare(a.header.Name, b.header.Name) })
	return append(made, entries...)
}

// layer packs entries. They keep their order: a hard link must come after what it links to.
func layer(how compression.Compression, entries []entry) (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, e := range parents(entries) {
		header := e.header
		header.Size = int64(len(e.data))
		header.Format = tar.FormatPAX
		if err := w.WriteHeader(&header); err != nil {
			return nil, fmt.Errorf("pack %s: %w", header.Name, err)
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, fmt.Errorf("pack %s: %w", header.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack layer: %w", err)
	}
	media := map[compression.Compression]types.MediaType{
		compression.None: types.OCIUncompressedLayer, compression.GZip: types.OCILayer, compression.ZStd: types.OCILayerZStd,
	}[how]
	if how == compression.None {
		return static.NewLayer(packed.Bytes(), media), nil
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }
	packedLayer, err := tarball.LayerFromOpener(open, tarball.WithCompression(how), tarball.WithMediaType(media),
		tarball.WithCompressedCaching)
	if err != nil {
		return nil, fmt.Errorf("pack layer: %w", err)
	}
	return packedLayer, nil
}
