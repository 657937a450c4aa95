// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/container-offload/offload/remotefs/client"
	"github.com/container-offload/offload/shim/wire"
)

// unmountTimeout bounds how long the pod's end waits for its file system.
const unmountTimeout = 5 * time.Second

// files is the one remotefs mount of a pod: below it, by name, are the DPU
// paths that its containers were given.
type files struct {
	half *half
	dir  string

	mu      sync.Mutex
	mounted *client.FS
	sockets []*net.UnixListener
}

// mount mounts the file system unless it is mounted.
func (f *files) mount(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mounted != nil {
		return nil
	}
	if err := os.MkdirAll(f.dir, 0o711); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	open := func(ctx context.Context) (net.Conn, error) {
		sess, _ := f.half.session()
		return sess.Open(ctx, wire.ServiceFiles, nil)
	}
	m, err := client.Mount(ctx, open, f.dir, client.Options{
		Source: "dpu:/", Small: true, Logger: f.half.log.With(slog.String("mount", f.dir)),
		// dockerd writes /etc/hosts and /etc/resolv.conf between a container's
		// creation and its start. What was seen at the one is no more true at
		// the other, and sendfile(2) never asks again for a size.
		AttrTimeout: -1, EntryTimeout: -1,
	})
	if err != nil {
		return err
	}
	f.mounted = m
	return nil
}

// path returns where the export called name is.
func (f *files) path(name string) string { return filepath.Join(f.dir, name) }

func (f *files) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.sockets {
		l.Close()
	}
	if f.mounted == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), unmountTimeout)
	defer cancel()
	m := f.mounted
	f.mounted = nil
	return m.Unmount(ctx)
}
