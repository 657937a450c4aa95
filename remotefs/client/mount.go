// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"
)

// FSType is the type that a mount has in mountinfo.
const FSType = "fuse.remotefs"

// Cache says what the client's kernel may keep of files.
type Cache int

const (
	// CacheAuto keeps a file's pages from one open to the next unless the
	// file was changed meanwhile: whoever opens a file sees what was written
	// by those who have closed it.
	CacheAuto Cache = iota
	// CacheNone keeps no pages: each read and write goes to the server.
	CacheNone
	// CacheAlways takes files to change on this mount only. Writes are
	// gathered in the kernel until close or fsync.
	CacheAlways
)

// Options are a mount's.
type Options struct {
	// Source is shown as the mount's source, such as
	// "host:/run/offload/tree".
	Source string
	// Export is the name of the export to mount. "" mounts a read-only
	// directory that lists all exports of the server, as they come and go.
	Export string
	// ReadOnly mounts read-only.
	ReadOnly bool
	// Small keeps the memory of an idle mount low at the cost of throughput,
	// for a mount with a handful of files.
	Small bool
	// AttrTimeout, EntryTimeout and NegativeTimeout are how long the kernel
	// believes attributes, names, and the absence of names without asking. 0
	// means 1 s, and no belief in absence; a negative value means never.
	AttrTimeout, EntryTimeout, NegativeTimeout time.Duration
	// Cache says what the kernel may keep of the files' content.
	Cache Cache
	// Logger gets what goes wrong. nil discards it.
	Logger *slog.Logger
}

// Stats are a mount's counters since it was mounted.
type Stats struct {
	// Requests were sent to the server, Errors of them failed.
	Requests, Errors uint64
	// Sent and Received are bytes on the connection.
	Sent, Received uint64
	// ReadBytes and WrittenBytes are bytes of files.
	ReadBytes, WrittenBytes uint64
	// Nodes are the files the kernel knows now; Handles those open now.
	Nodes, Handles int
	// InFlight are the requests that have no reply yet.
	InFlight int
}

// FS is a mounted file system. Its methods may be called concurrently.
type FS struct{}

// Mount mounts a server's export on the directory (or, if the export is a
// file, on the file) mountpoint. It opens the connection with open, which gets
// ctx. A mount there whose process has died is taken away first. It needs root
// and /dev/fuse.
//
// When the connection ends, every operation on the mount fails with EIO, and
// Done is closed.
func Mount(ctx context.Context, open func(context.Context) (net.Conn, error), mountpoint string, opts Options) (*FS, error) {
	return nil, errors.ErrUnsupported
}

// Unmount unmounts the file system and ends its connection. While files on it
// are in use it tries again until ctx ends; then it detaches the mount from the
// tree, so that the files left in use fail with EIO.
func (m *FS) Unmount(ctx context.Context) error { return errors.ErrUnsupported }

// Done is closed when the mount is of no more use: when it was unmounted, by
// whomever, or its connection has ended. Unmount is still needed then.
func (m *FS) Done() <-chan struct{} { return nil }

// Err says why Done was closed: nil after an unmount.
func (m *FS) Err() error { return nil }

// Stats returns the counters.
func (m *FS) Stats() Stats { return Stats{} }
