// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
)

// Options are a server's. The zero value is usable.
type Options struct {
	// Logger gets what goes wrong on this side. nil discards it.
	Logger *slog.Logger
	// MaxHandles bounds the files and directories that one client has open.
	// 0 means 65536.
	MaxHandles int
	// MaxNodes bounds the files that one client has looked up and not
	// forgotten. 0 means 4194304.
	MaxNodes int
	// MaxRequests bounds the requests of one client that are worked on at
	// once; more wait on the connection. 0 means 128.
	MaxRequests int
	// MaxBytes bounds the memory that file data of one client's requests
	// take at once. 0 means 64 MiB; less than 4 MiB is raised to that.
	MaxBytes int64
}

// Export is a directory or a file that clients see.
type Export struct {
	// Name is what clients call it: 1 to 255 bytes, no slash.
	Name string
	// Path is the directory or the file. Symbolic links in it are followed
	// once, by Add.
	Path string
	// ReadOnly refuses every change.
	ReadOnly bool
	// CrossMounts shows what is mounted below Path. Without it the covered
	// directories show.
	CrossMounts bool
	// Resolve, if set, is called before name is looked up in the directory
	// rel of the export ("" is the root), and may mount something there. It
	// is not called inside of what is mounted below the export. An error that
	// is or wraps a syscall.Errno or an errdefs kind is what the client gets.
	// It may be called concurrently.
	Resolve func(ctx context.Context, rel, name string) error
}

// Server serves exports. Its methods may be called concurrently.
type Server struct {
	opts Options
	log  *slog.Logger

	mu sync.Mutex
}

// New returns a server that exports nothing yet.
func New(opts Options) *Server {
	log := opts.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{opts: opts, log: log}
}

// Add exports e from now on, to connected clients too. It fails with
// errdefs.ErrAlreadyExists if there is an export of that name.
func (s *Server) Add(e Export) error { return errors.ErrUnsupported }

// Remove ends an export. Clients get ESTALE for whatever they hold of it, and
// no descriptor below its path is left open when Remove returns, except those
// of requests that are being worked on. It fails with errdefs.ErrNotFound if
// there is no such export.
func (s *Server) Remove(name string) error { return errors.ErrUnsupported }

// Serve answers one client on conn until the client is gone, ctx ends or the
// client breaks the protocol, then closes conn and whatever the client had
// open. It returns nil when the client ended the connection.
func (s *Server) Serve(ctx context.Context, conn net.Conn) error { return errors.ErrUnsupported }
