// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
)

// handle does what a request asks. buf is for data of the reply.
func (s *session) handle(ctx context.Context, req *wire.Request, rep *wire.Reply, buf []byte) error {
	switch req.Op {
	case wire.OpLookup:
		return s.lookup(ctx, req, rep)
	case wire.OpRead:
		return s.readFile(req, rep, buf)
	case wire.OpWrite:
		return s.writeFile(req, rep)
	case wire.OpReadDir:
		return s.readDir(req, rep, buf)
	case wire.OpFlush:
		return s.flush(req)
	case wire.OpFsync:
		return s.fsync(req)
	case wire.OpFallocate:
		return s.fallocate(req)
	case wire.OpSeek:
		return s.seek(req, rep)
	case wire.OpCopyRange:
		return s.copyRange(req, rep)
	case wire.OpGetLock:
		return s.getLock(req, rep)
	case wire.OpSetLock:
		return s.setLock(req)
	}
	n, err := s.get(req.Node)
	if err != nil {
		return err
	}
	defer s.put(n)
	if n.exp == nil {
		return s.handleRoot(n, req, rep)
	}
	return s.act(n.exp, req, func() error { return s.handleNode(n, req, rep, buf) })
}

func (s *session) handleNode(n *node, req *wire.Request, rep *wire.Reply, buf []byte) error {
	if err := n.exp.check(req); err != nil {
		return err
	}
	switch req.Op {
	case wire.OpGetAttr:
		return s.getAttr(n, rep)
	case wire.OpReadlink:
		return s.readlink(n, rep, buf)
	case wire.OpOpen:
		return s.openFile(n, req, rep, buf)
	case wire.OpOpenDir:
		return s.openDir(n, rep)
	case wire.OpStatFS:
		return s.statFS(n, rep)
	case wire.OpGetXattr:
		return s.getXattr(n, req, rep, buf)
	case wire.OpListXattr:
		return s.listXattr(n, req, rep, buf)
	case wire.OpSyncFS:
		return s.syncFS(n)
	}
	if n.exp.ReadOnly {
		return unix.EROFS
	}
	switch req.Op {
	case wire.OpSymlink, wire.OpMknod, wire.OpMkdir, wire.OpLink, wire.OpCreate, wire.OpUnlink, wire.OpRmdir, wire.OpRename:
		if err := s.change(n, req, rep); err != nil {
			return err
		}
		// The client's kernel asks next.
		st, err := statFD(n.fd)
		rep.Dir = s.attr(n, &st)
		return err
	case wire.OpSetAttr:
		return s.setAttr(n, req, rep)
	case wire.OpTmpfile:
		return s.tmpfile(n, req, rep)
	case wire.OpSetXattr:
		return s.setXattr(n, req)
	case wire.OpRemoveXattr:
		return s.removeXattr(n, req)
	}
	return unix.ENOSYS
}

// change changes the names in a directory.
func (s *session) change(n *node, req *wire.Request, rep *wire.Reply) error {
	switch req.Op {
	case wire.OpUnlink, wire.OpRmdir:
		return s.unlink(n, req)
	case wire.OpRename:
		return s.rename(n, req)
	}
	return s.make(n, req, rep)
}

// oneWay does what has no reply.
func (s *session) oneWay(t *task) {
	switch t.req.Op {
	case wire.OpForget:
		for data := t.req.Data; len(data) > 0; {
			f, rest, err := wire.NextForget(data)
			if err != nil {
				return
			}
			s.forget(f.Node, f.Count)
			data = rest
		}
	case wire.OpAccessed:
		s.accessed(t.req.Handle)
	case wire.OpRelease:
		if t.req.Owner != 0 {
			s.dropLocks(t.req.Handle, t.req.Owner)
		}
		s.release(t.req.Handle)
	}
}

// lookup finds a name in a directory.
func (s *session) lookup(ctx context.Context, req *wire.Request, rep *wire.Reply) error {
	n, err := s.get(req.Node)
	if err != nil {
		return err
	}
	defer s.put(n)
	if n.exp == nil {
		return s.lookupExport(req.Name, rep)
	}
	if err := checkName(n, req.Name); err != nil {
		return err
	}
	if n.exp.Resolve != nil && n.key.mount == n.exp.key.mount {
		rel, err := n.relative()
		if err != nil {
			return err
		}
		if err := n.exp.Resolve(ctx, rel, req.Name); err != nil {
			return fmt.Errorf("resolve %q: %w", req.Name, err)
		}
	}
	return s.act(n.exp, req, func() (err error) {
		rep.Entry, err = s.find(n, req.Name)
		if err == nil && s.hasNoXattrs(&rep.Entry) {
			rep.Entry.Flags |= wire.EntryPlain
		}
		return err
	})
}

// hasNoXattrs reports whether a regular file has no extended attributes, so that the
// client need not ask for its capabilities, as dockerd does for each file that it
// copies.
func (s *session) hasNoXattrs(e *wire.Entry) bool {
	if e.Attr.Mode&unix.S_IFMT != unix.S_IFREG {
		return false
	}
	n, err := s.get(e.Node)
	if err != nil {
		return false
	}
	defer s.put(n)
	size, err := unix.Listxattr(procPath(n.fd), nil)
	return err == nil && size == 0
}

// find makes the file called name of a directory a node.
func (s *session) find(n *node, name string) (wire.Entry, error) {
	fd, err := openBelow(n, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return wire.Entry{}, err
	}
	return s.enter(n.exp, fd)
}

// openBelow opens a name of a directory. It never leaves the directory but by
// a mount on the name, if the export allows it.
func openBelow(n *node, name string, flags int, mode uint32) (int, error) {
	return openAt(n.fd, n.exp, name, flags, mode)
}

// openAt is openBelow for a path in the directory dir of an export.
func openAt(dir int, x *export, path string, flags int, mode uint32) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC,
		Mode:    uint64(mode),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	if !x.CrossMounts {
		how.Resolve |= unix.RESOLVE_NO_XDEV
	}
	for {
		fd, err := unix.Openat2(dir, path, &how)
		// EAGAIN: something was renamed meanwhile, and the kernel isn't sure.
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

func checkName(n *node, name string) error {
	switch {
	case n.mode != unix.S_IFDIR:
		return unix.ENOTDIR
	case len(name) > wire.MaxName:
		return unix.ENAMETOOLONG
	case !validName(name):
		return unix.EINVAL
	}
	return nil
}

// relative gives where in its export a directory is.
func (n *node) relative() (string, error) {
	root, err := readlinkFD(n.exp.fd)
	if err != nil {
		return "", err
	}
	path, err := readlinkFD(n.fd)
	if err != nil {
		return "", err
	}
	if root == "/" {
		return strings.TrimPrefix(path, "/"), nil
	}
	rel, ok := strings.CutPrefix(path, root)
	if !ok {
		return "", unix.ESTALE
	}
	return strings.TrimPrefix(rel, "/"), nil
}

func readlinkFD(fd int) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink(procPath(fd), buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func (s *session) getAttr(n *node, rep *wire.Reply) error {
	st, err := statFD(n.fd)
	if err != nil {
		return err
	}
	rep.Entry.Attr = s.attr(n, &st)
	return nil
}

func (s *session) readlink(n *node, rep *wire.Reply, buf []byte) error {
	l, err := unix.Readlinkat(n.fd, "", buf)
	if err != nil {
		return err
	}
	rep.Data = buf[:min(l, wire.MaxTarget)]
	return nil
}

func (s *session) statFS(n *node, rep *wire.Reply) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(n.fd, &st); err != nil {
		return err
	}
	rep.StatFS = wire.StatFS{
		Blocks: st.Blocks, Bfree: st.Bfree, Bavail: st.Bavail, Files: st.Files, Ffree: st.Ffree,
		Bsize: uint32(st.Bsize), Frsize: uint32(st.Frsize), NameLen: uint32(st.Namelen),
	}
	return nil
}

func (s *session) syncFS(n *node) error {
	fd, err := unix.Open(procPath(n.fd), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Syncfs(fd)
}

// setAttr changes attributes in the order of the kernel's own checks: size,
// owner, mode, times.
func (s *session) setAttr(n *node, req *wire.Request, rep *wire.Reply) error {
	set := &req.Set
	if set.Valid&wire.SetSize != 0 {
		if err := s.truncate(n, req.Handle, set); err != nil {
			return err
		}
	}
	if set.Valid&(wire.SetUID|wire.SetGID) != 0 {
		if err := n.mayGive(); err != nil {
			return err
		}
		uid, gid := -1, -1
		if set.Valid&wire.SetUID != 0 {
			uid = int(set.UID)
		}
		if set.Valid&wire.SetGID != 0 {
			gid = int(set.GID)
		}
		if err := unix.Fchownat(n.fd, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
			return err
		}
	}
	if set.Valid&wire.SetMode != 0 {
		if err := chmod(n, set.Mode); err != nil {
			return err
		}
	}
	if set.Valid&(wire.SetAtime|wire.SetMtime) != 0 {
		times := []unix.Timespec{
			timespec(set.Valid, wire.SetAtime, wire.SetAtimeNow, set.Atime),
			timespec(set.Valid, wire.SetMtime, wire.SetMtimeNow, set.Mtime),
		}
		if err := unix.UtimesNanoAt(n.fd, "", times, unix.AT_EMPTY_PATH); err != nil {
			return err
		}
	}
	return s.getAttr(n, rep)
}

func chmod(n *node, mode uint32) error {
	if n.mode == unix.S_IFLNK {
		return unix.EOPNOTSUPP
	}
	return unix.Chmod(procPath(n.fd), mode&0o7777)
}

func timespec(valid, set, now uint32, t wire.Time) unix.Timespec {
	switch {
	case valid&set == 0:
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	case valid&now != 0:
		return unix.Timespec{Nsec: unix.UTIME_NOW}
	}
	ts := unix.NsecToTimespec(0)
	ts.Sec, ts.Nsec = t.Sec, int64(t.Nsec)
	return ts
}

func (s *session) truncate(n *node, handleID uint64, set *wire.SetAttr) error {
	if n.mode != unix.S_IFREG {
		return unix.EINVAL
	}
	if set.Size > 1<<63-1 {
		return unix.EFBIG
	}
	if err := s.truncateTo(n, handleID, int64(set.Size)); err != nil {
		return err
	}
	if set.Valid&wire.SetKill != 0 {
		return killSetID(n.fd)
	}
	return nil
}

func (s *session) truncateTo(n *node, handleID uint64, size int64) error {
	if handleID != 0 {
		if h, err := s.use(handleID, false); err == nil {
			err = unix.EBADF
			if h.node == n.id {
				err = unix.Ftruncate(h.fd, size)
			}
			s.done(h)
			if err == nil {
				return nil
			}
		}
	}
	return unix.Truncate(procPath(n.fd), size)
}

// killSetID takes away what a write of somebody without privilege takes away.
func killSetID(fd int) error {
	st, err := statFD(fd)
	if err != nil {
		return err
	}
	mode := uint32(st.Mode) &^ unix.S_ISUID
	if mode&unix.S_IXGRP != 0 {
		mode &^= unix.S_ISGID
	}
	if mode == uint32(st.Mode) {
		return nil
	}
	return unix.Chmod(procPath(fd), mode&0o7777)
}
