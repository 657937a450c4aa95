// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
)

// make makes a name in a directory.
func (s *session) make(n *node, req *wire.Request, rep *wire.Reply) error {
	if err := checkName(n, req.Name); err != nil {
		return err
	}
	switch req.Op {
	case wire.OpLink:
		return s.link(n, req, rep)
	case wire.OpCreate:
		return s.create(n, req, rep)
	}
	mode := req.Mode
	masked := req.Op != wire.OpSymlink && !n.hasDefaultACL()
	if masked {
		mode &^= req.Umask & 0o777
	}
	err := s.srv.creds.as(req.UID, req.GID, func() error {
		switch req.Op {
		case wire.OpSymlink:
			return unix.Symlinkat(req.Target, n.fd, req.Name)
		case wire.OpMkdir:
			return unix.Mkdirat(n.fd, req.Name, mode&0o7777)
		}
		return mknod(n.fd, req.Name, mode, req.Major, req.Minor)
	})
	if err != nil {
		return err
	}
	rep.Entry, err = s.find(n, req.Name)
	if err != nil || !masked {
		return err
	}
	rep.Entry.Flags |= wire.EntryPlain
	return s.restoreMode(&rep.Entry, mode)
}

func mknod(dir int, name string, mode, major, minor uint32) error {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
		return unix.Mknodat(dir, name, mode, int(unix.Mkdev(major, minor)))
	}
	return unix.EINVAL
}

// restoreMode gives a new file the permissions that this process' umask took
// from it.
func (s *session) restoreMode(e *wire.Entry, mode uint32) error {
	if mode&0o777&^e.Attr.Mode == 0 {
		return nil
	}
	n, err := s.get(e.Node)
	if err != nil {
		return err
	}
	defer s.put(n)
	if n.mode == unix.S_IFLNK {
		return nil
	}
	e.Attr.Mode |= mode & 0o777
	return chmod(n, e.Attr.Mode)
}

// hasDefaultACL reports whether new files in a directory get its default ACL
// instead of what the umask leaves.
func (n *node) hasDefaultACL() bool {
	size, err := unix.Getxattr(procPath(n.fd), "system.posix_acl_default", nil)
	return err == nil && size > 0
}

func (s *session) link(n *node, req *wire.Request, rep *wire.Reply) error {
	old, err := s.get(req.Node2)
	if err != nil {
		return err
	}
	defer s.put(old)
	if old.exp != n.exp {
		return unix.EXDEV
	}
	// Not by AT_EMPTY_PATH, which needs a capability.
	if err := unix.Linkat(unix.AT_FDCWD, procPath(old.fd), n.fd, req.Name, unix.AT_SYMLINK_FOLLOW); err != nil {
		return err
	}
	rep.Entry, err = s.find(n, req.Name)
	return err
}

func (s *session) unlink(n *node, req *wire.Request) error {
	if err := checkName(n, req.Name); err != nil {
		return err
	}
	flags := 0
	if req.Op == wire.OpRmdir {
		flags = unix.AT_REMOVEDIR
	}
	return unix.Unlinkat(n.fd, req.Name, flags)
}

func (s *session) rename(n *node, req *wire.Request) error {
	to, err := s.get(req.Node2)
	if err != nil {
		return err
	}
	defer s.put(to)
	if to.exp != n.exp {
		return unix.EXDEV
	}
	if err := checkName(n, req.Name); err != nil {
		return err
	}
	if err := checkName(to, req.Name2); err != nil {
		return err
	}
	flags := uint(0)
	for _, f := range [...]struct {
		wire  uint32
		linux uint
	}{
		{wire.RenameNoReplace, unix.RENAME_NOREPLACE},
		{wire.RenameExchange, unix.RENAME_EXCHANGE},
		{wire.RenameWhiteout, unix.RENAME_WHITEOUT},
	} {
		if req.Flags&f.wire != 0 {
			flags |= f.linux
		}
	}
	return unix.Renameat2(n.fd, req.Name, to.fd, req.Name2, flags)
}

// create makes a regular file and opens it, or opens the one that somebody else
// has made meanwhile.
func (s *session) create(n *node, req *wire.Request, rep *wire.Reply) error {
	if err := checkName(n, req.Name); err != nil {
		return err
	}
	for range 16 {
		fd, mode, err := s.createFile(n, req)
		if err == nil {
			return s.created(n, fd, mode, rep)
		}
		if !errors.Is(err, unix.EEXIST) || req.Flags&wire.OpenExcl != 0 {
			return err
		}
		err = s.openExisting(n, req, rep)
		if !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return unix.EAGAIN
}

func (s *session) createFile(n *node, req *wire.Request) (fd int, mode uint32, err error) {
	mode = req.Mode & 0o7777
	if !n.hasDefaultACL() {
		mode &^= req.Umask & 0o777
	} else {
		defer func() { mode = 0 }()
	}
	flags := reopenFlags(req.Flags) | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW
	err = s.srv.creds.as(req.UID, req.GID, func() (err error) {
		fd, err = openBelow(n, req.Name, flags&^unix.O_TRUNC, mode)
		return err
	})
	return fd, mode, err
}

// created makes a new file that is open as fd a node and a handle.
func (s *session) created(n *node, fd int, mode uint32, rep *wire.Reply) error {
	st, err := statFD(fd)
	if err == nil && mode&0o777&^uint32(st.Mode) != 0 {
		err = unix.Fchmod(fd, uint32(st.Mode)&0o7777|mode&0o777)
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	path, err := unix.Open(procPath(fd), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(fd)
		return err
	}
	rep.Entry, err = s.enter(n.exp, path)
	if err != nil {
		unix.Close(fd)
		return err
	}
	if !n.hasDefaultACL() {
		rep.Entry.Flags |= wire.EntryPlain
	}
	rep.Handle, err = s.open(n, rep.Entry.Node, fd, false)
	if err != nil {
		s.forget(rep.Entry.Node, 1)
	}
	return err
}

func (s *session) openExisting(n *node, req *wire.Request, rep *wire.Reply) error {
	open := *req
	open.Op = wire.OpOpen
	if err := n.exp.check(&open); err != nil {
		return err
	}
	entry, err := s.find(n, req.Name)
	if err != nil {
		return err
	}
	f, err := s.get(entry.Node)
	if err == nil {
		err = s.openFile(f, req, rep, nil)
		attr := rep.Entry.Attr
		rep.Entry = entry
		if err == nil {
			rep.Entry.Attr = attr
		}
		s.put(f)
	}
	if err != nil {
		s.forget(entry.Node, 1)
	}
	return err
}

// tmpfile makes a file without a name.
func (s *session) tmpfile(n *node, req *wire.Request, rep *wire.Reply) error {
	if n.mode != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	mode := req.Mode & 0o7777
	acl := n.hasDefaultACL()
	if !acl {
		mode &^= req.Umask & 0o777
	}
	flags := reopenFlags(req.Flags)&^unix.O_TRUNC | unix.O_TMPFILE | unix.O_CLOEXEC
	if req.Flags&wire.OpenExcl != 0 {
		flags |= unix.O_EXCL
	}
	var fd int
	err := s.srv.creds.as(req.UID, req.GID, func() (err error) {
		fd, err = unix.Openat(n.fd, ".", flags, mode)
		return err
	})
	if err != nil {
		return err
	}
	if acl {
		mode = 0
	}
	return s.created(n, fd, mode, rep)
}
