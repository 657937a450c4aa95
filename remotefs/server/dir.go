// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
)

// getdentsBuffer is how much of a directory is read at once, in bytes.
const getdentsBuffer = 32 << 10

func (s *session) openDir(n *node, rep *wire.Reply) error {
	if n.mode != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	fd, err := unix.Open(procPath(n.fd), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	rep.Handle, err = s.open(n, n.id, fd, true)
	return err
}

// readDir gives names from an offset on, which is 0 or one that it gave for an
// earlier name: the underlying file system's own.
func (s *session) readDir(req *wire.Request, rep *wire.Reply, buf []byte) error {
	h, err := s.use(req.Handle, true)
	if err != nil {
		return err
	}
	defer s.done(h)
	n, err := s.get(h.node)
	if err != nil {
		return err
	}
	defer s.put(n)
	h.mu.Lock()
	defer h.mu.Unlock()
	out := dirWriter{buf: buf[:0], left: int(req.Size), plus: req.Flags&wire.ReadDirPlus != 0}
	if n.exp == nil {
		s.readExports(h, req.Offset, &out)
		rep.Data = out.buf
		return nil
	}
	if req.Offset == 0 || req.Offset != h.next {
		if _, err := unix.Seek(h.fd, int64(req.Offset), unix.SEEK_SET); err != nil {
			return err
		}
		h.entries, h.next = nil, req.Offset
	}
	err = s.act(n.exp, req, func() error { return s.fillDir(n, h, &out) })
	if err != nil && len(out.buf) == 0 {
		return err
	}
	rep.Data = out.buf
	return nil
}

// fillDir writes entries until there is no room or no entry left.
func (s *session) fillDir(n *node, h *handle, out *dirWriter) error {
	for {
		if len(h.entries) == 0 {
			buf := make([]byte, getdentsBuffer)
			l, err := unix.Getdents(h.fd, buf)
			if err != nil || l == 0 {
				return err
			}
			h.entries = buf[:l]
		}
		e, rest := nextDirent(h.entries)
		if !out.fits(e.Name) {
			return nil
		}
		e.Ino = n.inode(s.single, n.key.dev, e.Ino)
		if out.plus && e.Name != "." && e.Name != ".." {
			// A name that went away meanwhile, or leads where the export
			// does not: it shows, and its look-up says why.
			if entry, err := s.find(n, e.Name); err == nil {
				e.Plus, e.Entry = true, entry
				e.Ino = entry.Attr.Ino
			}
		}
		out.add(&e)
		h.entries, h.next = rest, e.Offset
	}
}

// nextDirent decodes what getdents64(2) gives, in this machine's byte order.
func nextDirent(b []byte) (wire.DirEntry, []byte) {
	e := wire.DirEntry{
		Ino:    binary.NativeEndian.Uint64(b),
		Offset: binary.NativeEndian.Uint64(b[8:]),
		Type:   b[18],
	}
	size := int(binary.NativeEndian.Uint16(b[16:]))
	name := b[19:size]
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	e.Name = string(name)
	return e, b[size:]
}

// dirWriter gathers entries of a ReadDir reply.
type dirWriter struct {
	buf  []byte
	left int
	plus bool
}

func (w *dirWriter) fits(name string) bool {
	return w.left >= wire.DirCost(len(name), w.plus) && cap(w.buf)-len(w.buf) >= wire.DirCost(len(name), w.plus)+wire.AttrSize
}

func (w *dirWriter) add(e *wire.DirEntry) {
	w.left -= wire.DirCost(len(e.Name), w.plus)
	w.buf = e.Append(w.buf)
}

// The directory of all exports.

func (s *session) rootAttr() wire.Attr {
	return wire.Attr{Ino: 1, Mode: unix.S_IFDIR | 0o555, Nlink: 2, Blksize: 4096}
}

func (s *session) handleRoot(n *node, req *wire.Request, rep *wire.Reply) error {
	switch req.Op {
	case wire.OpGetAttr:
		rep.Entry.Attr = s.rootAttr()
		return nil
	case wire.OpOpenDir:
		var err error
		rep.Handle, err = s.open(n, n.id, -1, true)
		return err
	case wire.OpStatFS:
		rep.StatFS = wire.StatFS{Bsize: 4096, Frsize: 4096, NameLen: wire.MaxName}
		return nil
	case wire.OpGetXattr:
		return unix.ENODATA
	case wire.OpListXattr, wire.OpSyncFS:
		return nil
	case wire.OpOpen:
		return unix.EISDIR
	case wire.OpReadlink:
		return unix.EINVAL
	}
	return unix.EROFS
}

func (s *session) lookupExport(name string, rep *wire.Reply) error {
	x, fd, err := s.srv.root(name)
	if err != nil {
		return err
	}
	rep.Entry, err = s.enter(x, fd)
	rep.Entry.Flags = wire.EntryVolatile
	return err
}

// readExports gives the names of the exports there were when the directory was
// read from its start.
func (s *session) readExports(h *handle, offset uint64, out *dirWriter) {
	if offset == 0 {
		names := s.srv.names()
		slices.Sort(names)
		h.names = append([]string{".", ".."}, names...)
	}
	for i := offset; i < uint64(len(h.names)); i++ {
		e := wire.DirEntry{Ino: 1, Offset: i + 1, Type: unix.DT_DIR, Name: h.names[i]}
		if !out.fits(e.Name) {
			return
		}
		if i >= 2 {
			e.Ino, e.Type = mix(i), unix.DT_UNKNOWN
			if out.plus {
				var rep wire.Reply
				if s.lookupExport(e.Name, &rep) == nil {
					e.Plus, e.Entry, e.Ino = true, rep.Entry, rep.Entry.Attr.Ino
				}
			}
		}
		out.add(&e)
	}
}
