// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// RegistryAddress is where the registry listens, on the DPU's loopback, which docker and ctr take as a place where
// plain HTTP is meant.
const RegistryAddress = "127.0.0.1:5000"

// Registry is an image registry that runs in this process and is reached from the DPU only.
type Registry struct {
	server   *http.Server
	handler  http.Handler
	mu       sync.Mutex
	corrupt  map[string]bool
	finished chan struct{}
}

// startRegistry serves every image layout below dir under its directory's name.
func startRegistry(ctx context.Context, env *Env, dir string) (*Registry, error) {
	listener, err := env.Listen("tcp", RegistryAddress)
	if err != nil {
		return nil, fmt.Errorf("start registry: %w", err)
	}
	r := &Registry{
		handler:  registry.New(registry.Logger(log.New(io.Discard, "", 0))),
		corrupt:  map[string]bool{},
		finished: make(chan struct{}),
	}
	r.server = &http.Server{Handler: r}
	go func() {
		defer close(r.finished)
		_ = r.server.Serve(listener)
	}()
	layouts, err := filepath.Glob(filepath.Join(dir, "*", "index.json"))
	if err == nil && len(layouts) == 0 {
		err = errors.New("no images in " + dir)
	}
	for _, index := range layouts {
		if err == nil {
			err = r.load(ctx, env, filepath.Dir(index))
		}
	}
	if err != nil {
		r.close()
		return nil, fmt.Errorf("start registry: %w", err)
	}
	return r, nil
}

// load pushes the one image of a layout.
func (r *Registry) load(ctx context.Context, env *Env, dir string) error {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return fmt.Errorf("load image %s: %w", dir, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		return fmt.Errorf("load image %s: not exactly one manifest (%w)", dir, errors.Join(err))
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		return fmt.Errorf("load image %s: %w", dir, err)
	}
	ref, err := name.ParseReference(RegistryAddress+"/"+filepath.Base(dir)+":latest", name.Insecure)
	if err != nil {
		return fmt.Errorf("load image %s: %w", dir, err)
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return env.Dial(ctx, network, address)
		},
	}
	defer transport.CloseIdleConnections()
	if err := remote.Write(ref, image, remote.WithContext(ctx), remote.WithTransport(transport)); err != nil {
		return fmt.Errorf("load image %s: %w", dir, err)
	}
	return nil
}

// Corrupt makes the registry send wrong bytes for the large blobs of a repository, or the right ones again.
func (r *Registry) Corrupt(repository string, on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.corrupt[repository] = on
}

// ServeHTTP serves the registry protocol.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	repository, _, isBlob := strings.Cut(strings.TrimPrefix(req.URL.Path, "/v2/"), "/blobs/")
	r.mu.Lock()
	corrupt := isBlob && req.Method == http.MethodGet && r.corrupt[repository]
	r.mu.Unlock()
	if !corrupt {
		r.handler.ServeHTTP(w, req)
		return
	}
	r.handler.ServeHTTP(&damaged{ResponseWriter: w}, req)
}

func (r *Registry) close() {
	r.server.Close()
	<-r.finished
}

// damaged changes one byte of each large write of a response.
type damaged struct{ http.ResponseWriter }

func (d *damaged) Write(data []byte) (int, error) {
	const large = 4096
	if len(data) >= large {
		data = bytes.Clone(data)
		data[len(data)/2] ^= 0xff
	}
	return d.ResponseWriter.Write(data)
}

// ImageArchive is the file, on the machine, that has an image for ctr images import and docker load.
func (o Options) ImageArchive(name string) string {
	return filepath.Join(o.Build, "images", name+".tar")
}

// CopyIn copies a file of the machine into the environment.
func (e *Env) CopyIn(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy into %s: %w", e.name, err)
	}
	defer source.Close()
	return e.Do(func() error {
		target, err := os.Create(to)
		if err != nil {
			return err
		}
		_, err = io.Copy(target, source)
		return errors.Join(err, target.Close())
	})
}
