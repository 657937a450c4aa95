// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// RegistryAddress is where the DPU finds a registry, on its loopback, where docker takes plain HTTP as meant.
const RegistryAddress = "127.0.0.1:5000"

// Registry serves images from this process to the DPU, over the way in.
type Registry struct {
	server   *http.Server
	finished chan struct{}
}

// ServeImages serves the image layouts below dir under their directories' names, until the registry is closed or the
// DPU restarted.
func (p *Pair) ServeImages(ctx context.Context, dir string, names ...string) (*Registry, error) {
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	for _, image := range names {
		if err := push(ctx, handler, filepath.Join(dir, image), image); err != nil {
			return nil, fmt.Errorf("serve image %s: %w", image, err)
		}
	}
	l, err := p.DPU.Listen(ctx, RegistryAddress)
	if err != nil {
		return nil, fmt.Errorf("serve images: %w", err)
	}
	r := &Registry{server: &http.Server{Handler: handler}, finished: make(chan struct{})}
	go func() {
		defer close(r.finished)
		_ = r.server.Serve(l)
	}()
	return r, nil
}

// Close ends the registry.
func (r *Registry) Close() error {
	err := r.server.Close()
	<-r.finished
	return err
}

// push puts the one image of a layout into a registry.
func push(ctx context.Context, handler http.Handler, dir, image string) error {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	if len(manifest.Manifests) != 1 {
		return errors.New("not exactly one manifest in " + dir)
	}
	content, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		return err
	}
	ref, err := name.ParseReference(RegistryAddress+"/"+image+":latest", name.Insecure)
	if err != nil {
		return err
	}
	return remote.Write(ref, content, remote.WithContext(ctx), remote.WithTransport(direct{handler}))
}

// direct answers requests by a handler in this process.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Body == nil {
		request.Body = http.NoBody
	}
	defer request.Body.Close()
	a := &answer{header: http.Header{}, code: http.StatusOK}
	d.handler.ServeHTTP(a, request)
	return &http.Response{
		StatusCode: a.code, Status: http.StatusText(a.code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header, Body: io.NopCloser(&a.body), ContentLength: int64(a.body.Len()), Request: request,
	}, nil
}

// answer is what a handler answers.
type answer struct {
	header http.Header
	body   bytes.Buffer
	code   int
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }
func (a *answer) WriteHeader(code int)        { a.code = code }
