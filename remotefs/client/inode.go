// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
)

// files answers the kernel. It keeps no nodes and no handles: the server's
// numbers are the kernel's.
type files struct {
	fuse.RawFileSystem // what is not here is not supported

	conn   *conn
	kernel *fuse.Server
	cache  Cache

	attrTimeout, entryTimeout, negativeTimeout time.Duration

	nodes, handles atomic.Int64

	// mounting is the root's attributes until Mount is done, which therefore
	// does not wait for the server.
	mounting atomic.Pointer[wire.Attr]

	ahead ahead

	// xattrChanges counts the requests to set an extended attribute, at their
	// begin and end.
	xattrChanges atomic.Uint64

	mu          sync.Mutex
	seen        map[uint64]seen
	dirs        map[uint64]*dir // by the handle that the kernel has
	lastDir     uint64          // the newest of these handles
	changedDirs map[uint64]recent
	plain       map[uint64]time.Time
	lockers     map[locker]bool // owners that may have locks
}

func newFiles(c *conn, opts Options) *files {
	return &files{
		RawFileSystem: fuse.NewDefaultRawFileSystem(), conn: c, cache: opts.Cache,
		attrTimeout: timeout(opts.AttrTimeout, time.Second), entryTimeout: timeout(opts.EntryTimeout, time.Second),
		negativeTimeout: timeout(opts.NegativeTimeout, 0),
		seen:            map[uint64]seen{}, dirs: map[uint64]*dir{}, lockers: map[locker]bool{}, changedDirs: map[uint64]recent{}, plain: map[uint64]time.Time{},
	}
}

func timeout(d, standard time.Duration) time.Duration {
	switch {
	case d == 0:
		return standard
	case d < 0:
		return 0
	}
	return d
}

func (f *files) String() string { return "remotefs" }

func (f *files) Init(s *fuse.Server) { f.kernel = s }

func (f *files) OnUnmount() { f.conn.fail(errClosed) }

// status gives the kernel's form of an error. ENOSYS would make it never ask
// for the operation again.
func status(e unix.Errno) fuse.Status {
	if e == unix.ENOSYS {
		return fuse.Status(unix.EOPNOTSUPP)
	}
	return fuse.Status(e)
}

func (f *files) do(cancel <-chan struct{}, c *call) fuse.Status { return status(f.conn.do(cancel, c)) }

// entry does a request whose reply is an entry.
func (f *files) entry(cancel <-chan struct{}, c *call, out *fuse.EntryOut) fuse.Status {
	defer c.free()
	parent, before := c.req.Node, f.xattrChanges.Load()
	if st := f.do(cancel, c); st != fuse.OK {
		return st
	}
	if c.req.Op != wire.OpLookup {
		f.noteDir(parent, &c.rep.Dir)
	}
	st := f.setEntry(out, parent, &c.rep.Entry)
	if f.xattrChanges.Load() != before {
		f.notPlain(out.NodeId) // the reply may be older than what was set
	}
	return st
}

func (f *files) Lookup(cancel <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	c := newCall(wire.OpLookup, header)
	c.req.Node, c.req.Name = header.NodeId, name
	st := f.entry(cancel, c, out)
	if st == fuse.ENOENT && f.negativeTimeout > 0 && header.NodeId != fuse.FUSE_ROOT_ID {
		setTimeout(&out.EntryValid, &out.EntryValidNsec, f.negativeTimeout)
		return fuse.OK
	}
	return st
}

func (f *files) Forget(nodeid, nlookup uint64) {
	f.mu.Lock()
	delete(f.seen, nodeid)
	f.mu.Unlock()
	f.nodes.Add(-int64(nlookup))
	f.conn.forget(nodeid, nlookup)
}

func (f *files) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if a := f.mounting.Load(); a != nil && in.NodeId == fuse.FUSE_ROOT_ID {
		setAttr(&out.Attr, a)
		return fuse.OK
	}
	if a, ok := f.takeDir(in.NodeId); ok {
		f.setAttrOut(out, in.NodeId, &a)
		return fuse.OK
	}
	c := newCall(wire.OpGetAttr, &in.InHeader)
	defer c.free()
	c.req.Node = in.NodeId
	if st := f.do(cancel, c); st != fuse.OK {
		return st
	}
	f.setAttrOut(out, in.NodeId, &c.rep.Entry.Attr)
	return fuse.OK
}

func (f *files) Statx(cancel <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	if a := f.mounting.Load(); a != nil && in.NodeId == fuse.FUSE_ROOT_ID {
		f.setStatxOut(out, in.NodeId, a)
		out.AttrValid, out.AttrValidNsec = 0, 0
		return fuse.OK
	}
	c := newCall(wire.OpGetAttr, &in.InHeader)
	defer c.free()
	c.req.Node = in.NodeId
	if st := f.do(cancel, c); st != fuse.OK {
		return st
	}
	f.setStatxOut(out, in.NodeId, &c.rep.Entry.Attr)
	return fuse.OK
}

var setBits = [...]struct{ kernel, wire uint32 }{
	{fuse.FATTR_MODE, wire.SetMode}, {fuse.FATTR_UID, wire.SetUID}, {fuse.FATTR_GID, wire.SetGID},
	{fuse.FATTR_SIZE, wire.SetSize}, {fuse.FATTR_ATIME, wire.SetAtime}, {fuse.FATTR_MTIME, wire.SetMtime},
	{fuse.FATTR_ATIME_NOW, wire.SetAtimeNow}, {fuse.FATTR_MTIME_NOW, wire.SetMtimeNow},
	{fuse.FATTR_KILL_SUIDGID, wire.SetKill},
}

func (f *files) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	c := newCall(wire.OpSetAttr, &in.InHeader)
	defer c.free()
	f.takeDir(in.NodeId) // it is old from now on
	defer f.takeDir(in.NodeId)
	c.req.Node = in.NodeId
	if fh, ok := in.GetFh(); ok {
		c.req.Handle = fh
	}
	set := &c.req.Set
	for _, b := range setBits {
		if in.Valid&b.kernel != 0 {
			set.Valid |= b.wire
		}
	}
	set.Mode, set.UID, set.GID, set.Size = in.Mode, in.Uid, in.Gid, in.Size
	set.Atime = wire.Time{Sec: int64(in.Atime), Nsec: in.Atimensec}
	set.Mtime = wire.Time{Sec: int64(in.Mtime), Nsec: in.Mtimensec}
	st := f.do(cancel, c)
	if in.Valid&fuse.FATTR_SIZE != 0 {
		f.ahead.changed(in.NodeId)
	}
	if st != fuse.OK {
		return st
	}
	f.setAttrOut(out, in.NodeId, &c.rep.Entry.Attr)
	return fuse.OK
}

func (f *files) Readlink(cancel <-chan struct{}, header *fuse.InHeader) ([]byte, fuse.Status) {
	c := newCall(wire.OpReadlink, header)
	defer c.free()
	c.req.Node = header.NodeId
	c.dest = make([]byte, wire.MaxTarget+1)
	if st := f.do(cancel, c); st != fuse.OK {
		return nil, st
	}
	return c.rep.Data, fuse.OK
}

// newMake is a request that makes a name.
func newMake(op wire.Op, h *fuse.InHeader, name string) *call {
	c := newCall(op, h)
	c.req.Node, c.req.Name, c.req.UID, c.req.GID = h.NodeId, name, h.Uid, h.Gid
	return c
}

func (f *files) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	c := newMake(wire.OpMknod, &in.InHeader, name)
	c.req.Mode, c.req.Umask = in.Mode, in.Umask
	c.req.Major, c.req.Minor = in.Rdev>>8&0xfff, in.Rdev&0xff|in.Rdev>>12&^0xff
	return f.entry(cancel, c, out)
}

func (f *files) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	c := newMake(wire.OpMkdir, &in.InHeader, name)
	c.req.Mode, c.req.Umask = in.Mode, in.Umask
	return f.entry(cancel, c, out)
}

func (f *files) Symlink(cancel <-chan struct{}, header *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	c := newMake(wire.OpSymlink, header, name)
	c.req.Target = target
	return f.entry(cancel, c, out)
}

func (f *files) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	c := newMake(wire.OpLink, &in.InHeader, name)
	c.req.Node2 = in.Oldnodeid
	return f.entry(cancel, c, out)
}

func (f *files) remove(cancel <-chan struct{}, op wire.Op, header *fuse.InHeader, name string) fuse.Status {
	c := newCall(op, header)
	defer c.free()
	c.req.Node, c.req.Name = header.NodeId, name
	st := f.do(cancel, c)
	if st == fuse.OK && op != wire.OpRemoveXattr {
		f.noteDir(header.NodeId, &c.rep.Dir)
	}
	return st
}

func (f *files) Unlink(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return f.remove(cancel, wire.OpUnlink, header, name)
}

func (f *files) Rmdir(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return f.remove(cancel, wire.OpRmdir, header, name)
}

func (f *files) Rename(cancel <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	c := newCall(wire.OpRename, &in.InHeader)
	defer c.free()
	c.req.Node, c.req.Name, c.req.Node2, c.req.Name2 = in.NodeId, oldName, in.Newdir, newName
	flags := in.Flags
	for _, b := range [...]struct{ kernel, wire uint32 }{
		{unix.RENAME_NOREPLACE, wire.RenameNoReplace}, {unix.RENAME_EXCHANGE, wire.RenameExchange}, {unix.RENAME_WHITEOUT, wire.RenameWhiteout},
	} {
		if flags&b.kernel != 0 {
			c.req.Flags |= b.wire
			flags &^= b.kernel
		}
	}
	if flags != 0 {
		return fuse.EINVAL
	}
	if f.conn.levels.below(in.NodeId) > 0 || f.conn.levels.below(in.Newdir) > 0 {
		return fuse.EXDEV // what comes there is not looked up
	}
	f.takeDir(in.Newdir)
	defer f.takeDir(in.Newdir)
	st := f.do(cancel, c)
	if st == fuse.OK {
		f.noteDir(in.NodeId, &c.rep.Dir)
	}
	return st
}

func (f *files) StatFs(cancel <-chan struct{}, header *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	c := newCall(wire.OpStatFS, header)
	defer c.free()
	c.req.Node = header.NodeId
	if st := f.do(cancel, c); st != fuse.OK {
		return st
	}
	s := &c.rep.StatFS
	*out = fuse.StatfsOut{
		Blocks: s.Blocks, Bfree: s.Bfree, Bavail: s.Bavail, Files: s.Files, Ffree: s.Ffree,
		Bsize: s.Bsize, NameLen: s.NameLen, Frsize: s.Frsize,
	}
	return fuse.OK
}

func (f *files) xattr(cancel <-chan struct{}, op wire.Op, header *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	c := newCall(op, header)
	defer c.free()
	c.req.Node, c.req.Name, c.req.Size, c.dest = header.NodeId, name, uint32(len(dest)), dest
	if st := f.do(cancel, c); st != fuse.OK {
		return 0, st
	}
	if len(dest) > 0 {
		return uint32(len(c.rep.Data)), fuse.OK
	}
	return min(c.rep.Size, math.MaxUint16+1), fuse.OK
}

func (f *files) GetXAttr(cancel <-chan struct{}, header *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	if f.isPlain(header.NodeId, attr) {
		return 0, fuse.ENODATA
	}
	return f.xattr(cancel, wire.OpGetXattr, header, attr, dest)
}

func (f *files) ListXAttr(cancel <-chan struct{}, header *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	return f.xattr(cancel, wire.OpListXattr, header, "", dest)
}

func (f *files) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, attr string, data []byte) fuse.Status {
	c := newCall(wire.OpSetXattr, &in.InHeader)
	defer c.free()
	f.setsXattr(in.NodeId)
	defer f.setsXattr(in.NodeId)
	c.req.Node, c.req.Name, c.req.Data = in.NodeId, attr, data
	if in.Flags&unix.XATTR_CREATE != 0 {
		c.req.Flags |= wire.XattrCreate
	}
	if in.Flags&unix.XATTR_REPLACE != 0 {
		c.req.Flags |= wire.XattrReplace
	}
	return f.do(cancel, c)
}

func (f *files) RemoveXAttr(cancel <-chan struct{}, header *fuse.InHeader, attr string) fuse.Status {
	return f.remove(cancel, wire.OpRemoveXattr, header, attr)
}
