// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
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

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxHandles <= 0 {
		o.MaxHandles = 65536
	}
	if o.MaxNodes <= 0 {
		o.MaxNodes = 4194304
	}
	if o.MaxRequests <= 0 {
		o.MaxRequests = 128
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 64 << 20
	}
	o.MaxBytes = max(o.MaxBytes, 4<<20)
	return o
}

// Export is a directory or a file that clients see.
type Export struct {
	// Name is what clients call it: 1 to 255 bytes, no slash.
	Name string
	// Path is the directory or the file. Symbolic links in it are followed
	// once, by Add. A client may ask for it by this path instead of by Name, and
	// for whatever is below it.
	Path string
	// File, if set, is served instead of what is at Path, and need not have a
	// name if CrossMounts is set. It stays the caller's and is not needed after
	// Add.
	File *os.File
	// ReadOnly refuses every change.
	ReadOnly bool
	// CrossMounts shows what is mounted below Path. Without it the covered
	// directories show.
	CrossMounts bool
	// Allow is what clients may do, within ReadOnly; 0 means everything. What is
	// not allowed fails with EPERM.
	Allow Operations
	// Squash, if set, is as whom all that clients ask is done, whoever asks: new
	// files are this user's, and it needs the permissions of this machine for
	// everything else.
	Squash *User
	// UIDs and GIDs, if set, map the ids that clients see and use to others of
	// this machine; ids in none of them are nobody's. Both must be given, and
	// CrossMounts must not be set: the kernel maps the ids of one mount, if its
	// file system can.
	UIDs, GIDs []IDRange
	// Resolve, if set, is called before name is looked up in the directory
	// rel of the export ("" is the root), and may mount something there. It
	// is not called inside of what is mounted below the export. An error that
	// is or wraps a syscall.Errno or an errdefs kind is what the client gets.
	// It may be called concurrently.
	Resolve func(ctx context.Context, rel, name string) error
}

// export is an Export that clients see now.
type export struct {
	Export
	fd      int // of the root, O_PATH
	key     nodeKey
	byFile  bool // Path is not where it is from
	removed atomic.Bool
}

// Server serves exports. Its methods may be called concurrently.
type Server struct {
	opts  Options
	log   *slog.Logger
	creds *creator

	mu       sync.Mutex
	exports  map[string]*export
	sessions map[*session]struct{}
}

// New returns a server that exports nothing yet. As root it raises the process'
// own limit of open files, without which few files could be looked up.
func New(opts Options) *Server {
	opts = opts.withDefaults()
	raiseFileLimit()
	return &Server{
		opts: opts, log: opts.Logger, creds: newCreator(),
		exports: map[string]*export{}, sessions: map[*session]struct{}{},
	}
}

// Add exports e from now on, to connected clients too. It fails with
// errdefs.ErrAlreadyExists if there is an export of that name.
func (s *Server) Add(e Export) error {
	if !validName(e.Name) {
		return fmt.Errorf("export %q: the name is not 1 to %d bytes without a slash: %w", e.Name, wire.MaxName, errdefs.ErrInvalidArgument)
	}
	x, err := openExport(e)
	if err != nil {
		return fmt.Errorf("export %s as %q: %w", e.Path, e.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.exports[e.Name]; ok {
		unix.Close(x.fd)
		return fmt.Errorf("export %q: %w", e.Name, errdefs.ErrAlreadyExists)
	}
	s.exports[e.Name] = x
	return nil
}

func openExport(e Export) (*export, error) {
	x := &export{Export: e, byFile: e.File != nil}
	x.File = nil // the caller's
	mapped := len(e.UIDs) > 0 || len(e.GIDs) > 0
	if mapped && (e.CrossMounts || len(e.UIDs) == 0 || len(e.GIDs) == 0) {
		return nil, fmt.Errorf("ids are mapped of users and groups, and of one mount only: %w", errdefs.ErrInvalidArgument)
	}
	fd, err := e.open()
	if err != nil {
		return nil, err
	}
	if !e.CrossMounts {
		// A copy of the one mount, with nothing mounted on it.
		cover := fd
		fd, err = unix.OpenTree(cover, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
		unix.Close(cover)
		if err != nil {
			return nil, err
		}
	}
	if mapped {
		if err := mapIDs(fd, e.UIDs, e.GIDs); err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	x.fd = fd
	st, err := statFD(x.fd)
	if err != nil {
		unix.Close(x.fd)
		return nil, err
	}
	x.key = keyOf(&st)
	return x, nil
}

// open opens the export's root with O_PATH.
func (e *Export) open() (int, error) {
	if e.File != nil {
		return unix.Open(procPath(int(e.File.Fd())), unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	path, err := filepath.EvalSymlinks(e.Path)
	if err != nil {
		return -1, err
	}
	return unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
}

// Remove ends an export. Clients get ESTALE for whatever they hold of it, and
// no descriptor below its path is left open when Remove returns, except those
// of requests that are being worked on. It fails with errdefs.ErrNotFound if
// there is no such export.
func (s *Server) Remove(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, ok := s.exports[name]
	if !ok {
		return fmt.Errorf("export %q: %w", name, errdefs.ErrNotFound)
	}
	delete(s.exports, name)
	x.removed.Store(true)
	for sess := range s.sessions {
		sess.drop(x)
	}
	return unix.Close(x.fd)
}

// root gives a descriptor of its own of an export's root.
func (s *Server) root(name string) (*export, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, ok := s.exports[name]
	if !ok {
		return nil, -1, unix.ENOENT
	}
	fd, err := unix.FcntlInt(uintptr(x.fd), unix.F_DUPFD_CLOEXEC, 0)
	return x, fd, err
}

// rootAt finds the export that a path of this machine lies in, the innermost if
// there are more, and opens what is at the path. It follows symbolic links that
// stay below the export's root.
func (s *Server) rootAt(path string) (*export, int, error) {
	x, rest := s.exportAt(path)
	if x == nil {
		return nil, -1, unix.ENOENT
	}
	x, root, err := s.root(x.Name)
	if err != nil || rest == "." {
		return x, root, err
	}
	defer unix.Close(root)
	fd, err := openAt(root, x, rest, unix.O_PATH, 0)
	return x, fd, err
}

// exportAt gives the innermost export that a path lies in, and the rest of the
// path below its root. What an export resolves by itself is not there before it
// is looked up, so only its root is found.
func (s *Server) exportAt(path string) (found *export, rest string) {
	path = filepath.Clean(path)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.exports {
		if x.byFile {
			continue
		}
		below, err := filepath.Rel(filepath.Clean(x.Path), path)
		if err != nil || !filepath.IsLocal(below) || below != "." && x.Resolve != nil {
			continue
		}
		if found == nil || len(filepath.Clean(x.Path)) > len(filepath.Clean(found.Path)) {
			found, rest = x, below
		}
	}
	return found, rest
}

// names lists the exports.
func (s *Server) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.exports))
	for n := range s.exports {
		names = append(names, n)
	}
	return names
}

// Serve answers one client on conn until the client is gone, ctx ends or the
// client breaks the protocol, then closes conn and whatever the client had
// open. It returns nil when the client ended the connection.
func (s *Server) Serve(ctx context.Context, conn net.Conn) error {
	sess := newSession(s, conn)
	s.mu.Lock()
	s.sessions[sess] = struct{}{}
	s.mu.Unlock()
	err := sess.run(ctx)
	s.mu.Lock()
	delete(s.sessions, sess)
	s.mu.Unlock()
	sess.close()
	if err != nil && !errors.Is(err, ctx.Err()) {
		s.log.Debug("remotefs client lost", "error", err)
	}
	return err
}

// validName reports whether a client may use name in a directory.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= wire.MaxName && !strings.ContainsAny(name, "/\x00")
}
