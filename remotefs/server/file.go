// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
)

// reopenFlags gives open(2)'s flags for what a client wants of a file. The
// client's kernel has dealt with O_DIRECT, which would ask for aligned memory
// here, and with O_EXCL.
func reopenFlags(flags uint32) int {
	l := wire.ToOpenFlags(flags &^ (wire.OpenDirect | wire.OpenExcl))
	return l | unix.O_CLOEXEC | unix.O_NOCTTY | unix.O_NONBLOCK
}

// openFile opens a regular file through its node. Nothing else is ever opened:
// a device or a FIFO is an object of the client's own kernel.
//
// A file that fits into buf comes with the reply.
func (s *session) openFile(n *node, req *wire.Request, rep *wire.Reply, buf []byte) error {
	switch n.mode {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		return unix.EISDIR
	case unix.S_IFLNK:
		return unix.ELOOP
	default:
		return unix.ENXIO
	}
	writes := req.Flags&wire.OpenAccess != wire.OpenRead || req.Flags&wire.OpenTrunc != 0
	if writes && n.exp.ReadOnly {
		return unix.EROFS
	}
	fd, err := unix.Open(procPath(n.fd), reopenFlags(req.Flags), 0)
	if err != nil {
		return err
	}
	if req.Flags&wire.OpenTrunc != 0 && req.Flags&wire.OpenKill != 0 {
		if err := killSetID(fd); err != nil {
			unix.Close(fd)
			return err
		}
	}
	st, err := statFD(fd)
	if err != nil {
		unix.Close(fd)
		return err
	}
	rep.Entry.Attr = s.attr(n, &st)
	if st.Size == 0 && isStream(fd) {
		rep.Flags = wire.OpenedStream
	}
	if rep.Flags == 0 && req.Flags&wire.OpenAccess == wire.OpenRead && st.Size < uint64(len(buf)) {
		if content := readQuietly(fd, buf); uint64(len(content)) == st.Size {
			rep.Flags, rep.Data = wire.OpenedWhole, content
		}
	}
	rep.Handle, err = s.open(n, n.id, fd, false)
	if err != nil {
		rep.Data = nil
	}
	return err
}

// readQuietly reads a file from its start and leaves its time of access alone:
// nobody has read it yet.
func readQuietly(fd int, buf []byte) []byte {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return nil
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags|unix.O_NOATIME); err != nil {
		return nil
	}
	n, err := unix.Pread(fd, buf, 0)
	if _, errBack := unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags); err != nil || errBack != nil {
		return nil
	}
	return buf[:n]
}

// accessed reads a byte, for the time of access to become what a real read
// would make it.
func (s *session) accessed(id uint64) {
	h, err := s.use(id, false)
	if err != nil {
		return
	}
	defer s.done(h)
	var b [1]byte
	_, _ = unix.Pread(h.fd, b[:], 0)
}

// isStream reports whether a file is one that the kernel makes up when it is
// read, so that its size says nothing.
func isStream(fd int) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return false
	}
	switch uint32(st.Type) {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC,
		unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.PSTOREFS_MAGIC, unix.EFIVARFS_MAGIC:
		return true
	}
	return false
}

func (s *session) readFile(req *wire.Request, rep *wire.Reply, buf []byte) error {
	h, err := s.use(req.Handle, false)
	if err != nil {
		return err
	}
	defer s.done(h)
	if req.Offset > 1<<63-1 {
		return unix.EINVAL
	}
	read := 0
	for read < len(buf) {
		n, err := unix.Pread(h.fd, buf[read:], int64(req.Offset)+int64(read))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			if read > 0 {
				break
			}
			return err
		}
		read += n
		if n == 0 || n < 1<<12 {
			// The end, or a file like those of /proc that gives as much as
			// it likes at a time.
			break
		}
	}
	rep.Data = buf[:read]
	return nil
}

func (s *session) writeFile(req *wire.Request, rep *wire.Reply) error {
	h, err := s.use(req.Handle, false)
	if err != nil {
		return err
	}
	defer s.done(h)
	if req.Offset > 1<<63-1 {
		return unix.EINVAL
	}
	if req.Flags&wire.WriteKill != 0 {
		if err := killSetID(h.fd); err != nil {
			return err
		}
	}
	written := 0
	for {
		n, err := unix.Pwrite(h.fd, req.Data[written:], int64(req.Offset)+int64(written))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			if written > 0 {
				break
			}
			return err
		}
		written += n
		if n == 0 || written == len(req.Data) {
			break
		}
	}
	rep.Size = uint32(written)
	return nil
}

func (s *session) flush(req *wire.Request) error {
	h, err := s.use(req.Handle, false)
	if err != nil {
		return err
	}
	defer s.done(h)
	s.dropLocks(req.Handle, req.Owner)
	return nil
}

// fsync takes files and directories.
func (s *session) fsync(req *wire.Request) error {
	h, err := s.use(req.Handle, false)
	if errors.Is(err, unix.EBADF) {
		h, err = s.use(req.Handle, true)
	}
	if err != nil {
		return err
	}
	defer s.done(h)
	switch {
	case h.fd < 0:
		return nil
	case req.Flags&wire.FsyncData != 0:
		return unix.Fdatasync(h.fd)
	}
	return unix.Fsync(h.fd)
}

func (s *session) fallocate(req *wire.Request) error {
	h, err := s.use(req.Handle, false)
	if err != nil {
		return err
	}
	defer s.done(h)
	mode, ok := wire.ToFallocMode(req.Mode)
	if !ok {
		return unix.EOPNOTSUPP
	}
	return unix.Fallocate(h.fd, mode, int64(req.Offset), int64(req.Length))
}

func (s *session) seek(req *wire.Request, rep *wire.Reply) error {
	h, err := s.use(req.Handle, false)
	if err != nil {
		return err
	}
	defer s.done(h)
	whence := unix.SEEK_DATA
	switch req.Flags {
	case wire.SeekData:
	case wire.SeekHole:
		whence = unix.SEEK_HOLE
	default:
		return unix.EINVAL
	}
	// Nothing else uses the descriptor's own offset.
	off, err := unix.Seek(h.fd, int64(req.Offset), whence)
	rep.Offset = uint64(off)
	return err
}

func (s *session) copyRange(req *wire.Request, rep *wire.Reply) error {
	from, err := s.use(req.Handle, false)
	if err != nil {
		return err
	}
	defer s.done(from)
	to, err := s.use(req.Handle2, false)
	if err != nil {
		return err
	}
	defer s.done(to)
	offIn, offOut := int64(req.Offset), int64(req.Offset2)
	n, err := unix.CopyFileRange(from.fd, &offIn, to.fd, &offOut, int(min(req.Length, 1<<30)), 0)
	rep.Length = uint64(max(n, 0))
	return err
}
