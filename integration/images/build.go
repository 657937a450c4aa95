// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// revision is raised when what Build makes changes, so that what is cached is made anew.
const revision = "2"

// Build makes every image below dir: an OCI layout NAME/ and the same as an archive NAME.tar. It does nothing if
// they are there already, as made by this version of the package.
func Build(ctx context.Context, dir string) error {
	stamp := filepath.Join(dir, "revision")
	want := revision + " " + runtime.GOARCH + "\n"
	if have, err := os.ReadFile(stamp); err == nil && string(have) == want {
		if missing := missing(dir); len(missing) == 0 {
			return nil
		}
	} else if err := clearDir(dir); err != nil {
		return fmt.Errorf("build images: %w", err)
	}
	work := filepath.Join(dir, "work")
	if err := os.MkdirAll(work, 0o755); err != nil {
		return fmt.Errorf("build images: %w", err)
	}
	defer os.RemoveAll(work)
	tree, err := download(ctx, work, "busybox-static", "redis-server", "nginx", "ca-certificates")
	if err != nil {
		return fmt.Errorf("build images: %w", err)
	}
	made, err := all(ctx, tree)
	if err != nil {
		return fmt.Errorf("build images: %w", err)
	}
	// Those that are there may be in use.
	for _, name := range missing(dir) {
		if err := write(dir, name, made[name]); err != nil {
			return fmt.Errorf("build image %s: %w", name, err)
		}
	}
	if err := os.WriteFile(stamp, []byte(want), 0o644); err != nil {
		return fmt.Errorf("build images: %w", err)
	}
	return nil
}

// names are those of all images.
var names = []string{"busybox", "busybox-zstd", "redis", "nginx", "layers"}

// missing lists the images that are not in dir.
func missing(dir string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name+".tar"))
		return err == nil
	})
}

// clearDir removes what is in dir and leaves dir, which may be a link to where images are kept.
func clearDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// compose makes an image of layers.
func compose(config v1.Config, layers ...v1.Layer) (v1.Image, error) {
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	image, err := mutate.AppendLayers(image, layers...)
	if err != nil {
		return nil, err
	}
	full, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	full = full.DeepCopy()
	full.Architecture, full.OS, full.Config = runtime.GOARCH, "linux", config
	return mutate.ConfigFile(image, full)
}

// write stores an image as a layout and as an archive of that.
func write(dir, name string, image v1.Image) error {
	path := filepath.Join(dir, name)
	store, err := layout.Write(path, empty.Index)
	if err != nil {
		return err
	}
	err = store.AppendImage(image, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": "latest",
		"io.containerd.image.name":          "docker.io/library/" + name + ":latest",
	}), layout.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	if err != nil {
		return err
	}
	return archive(path, path+".tar")
}

// archive packs a layout's files.
func archive(dir, to string) (err error) {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := tar.NewWriter(out)
	var names []string
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			names = append(names, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if err := pack(w, dir, name); err != nil {
			return err
		}
	}
	return w.Close()
}

func pack(w *tar.Writer, dir, name string) error {
	in, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(w, in)
	return err
}
