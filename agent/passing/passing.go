// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package passing serves the files and directories whose descriptors a program
// passes to one of the other machine through the socket bridge.
//
// It joins udsbridge/bridge, which knows nothing of files, with remotefs, which
// knows nothing of descriptors. It may import both.
package passing

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/client"
	"github.com/container-offload/offload/remotefs/server"
	"github.com/container-offload/offload/udsbridge/bridge"
)

// export is the name of what is passed. It is the only export of its server.
const export = "passed"

// Files serves passed files by remotefs: one small file system for each of them, so
// that offsets, locks, mmap and what stat tells are as with any file.
type Files struct{ Log *slog.Logger }

var _ bridge.FileServer = Files{}

// Offer serves a file or directory until the receiver has closed it, or ctx ends.
func (f Files) Offer(ctx context.Context, conn net.Conn, file *os.File, readOnly bool) {
	defer file.Close()
	s := server.New(server.Options{Logger: f.Log, MaxBytes: 4 << 20})
	if err := s.Add(server.Export{Name: export, File: file, ReadOnly: readOnly, CrossMounts: true}); err != nil {
		f.Log.Warn("serve a passed file", "error", err)
		conn.Close()
		return
	}
	// Why it ended is of no interest: the receiver has closed the file, or is gone.
	_ = s.Serve(ctx, conn)
	_ = s.Remove(export)
}

// Take mounts what the peer offers on conn on the file or directory at path, which
// it makes, and opens it. Once nobody has it open any more, all that is undone.
func (f Files) Take(ctx context.Context, conn net.Conn, path string, flags int) (int, error) {
	directory := flags&unix.O_DIRECTORY != 0
	if err := makePoint(path, directory); err != nil {
		conn.Close()
		return -1, err
	}
	readOnly := flags&unix.O_ACCMODE == unix.O_RDONLY && !directory
	m, err := client.Mount(ctx, func(context.Context) (net.Conn, error) { return conn, nil }, path, client.Options{
		Source: "peer:" + export, Export: export, ReadOnly: readOnly, Small: true, Cache: client.CacheNone, Logger: f.Log,
	})
	if err != nil {
		conn.Close()
		return -1, errors.Join(err, os.Remove(path))
	}
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	// It is busy until the last descriptor is closed, and unmounted then.
	go func() {
		if err := m.Unmount(context.Background()); err != nil {
			f.Log.Warn("unmount a passed file", "error", err)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.Log.Warn("remove the mount point of a passed file", "error", err)
		}
	}()
	if err != nil {
		return -1, fmt.Errorf("open passed file: %w", err)
	}
	return fd, nil
}

func makePoint(path string, directory bool) error {
	if directory {
		return os.Mkdir(path, 0o700)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}
