// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
)

// openFlags tells the kernel how to treat a file that was opened.
func (f *files) openFlags(flags uint32, opened uint32, same bool) uint32 {
	switch {
	case flags&unix.O_DIRECT != 0 || opened&wire.OpenedStream != 0 || f.cache == CacheNone:
		return fuse.FOPEN_DIRECT_IO | fuse.FOPEN_PARALLEL_DIRECT_WRITES
	case same || f.cache == CacheAlways:
		return fuse.FOPEN_KEEP_CACHE
	}
	return 0
}

func (f *files) wireOpenFlags(flags uint32) uint32 {
	w := wire.FromOpenFlags(flags)
	if f.cache == CacheAlways {
		// The kernel gathers writes: it reads what they do not fill, and
		// knows itself where the end is.
		if w&wire.OpenAccess == wire.OpenWrite {
			w = w&^wire.OpenAccess | wire.OpenBoth
		}
		w &^= wire.OpenAppend
	}
	return w
}

// noHandle is the handle of a root that was opened while it was being mounted,
// for nothing to be read.
const noHandle = ^uint64(0)

func (f *files) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if f.mounting.Load() != nil && in.NodeId == fuse.FUSE_ROOT_ID {
		out.Fh = noHandle
		return fuse.OK
	}
	c := newCall(wire.OpOpen, &in.InHeader)
	defer c.free()
	c.req.Node, c.req.Flags = in.NodeId, f.wireOpenFlags(in.Flags)
	if in.Mode&fuse.OPEN_KILL_SUIDGID != 0 {
		c.req.Flags |= wire.OpenKill
	}
	if c.req.Flags == wire.OpenRead && f.cache != CacheNone && f.isNew(in.NodeId) {
		c.req.Size, c.dest = prefetch, make([]byte, prefetch)
		asked := f.ahead.ask(in.NodeId)
		defer func() {
			var whole []byte
			if c.rep.Flags&wire.OpenedWhole != 0 {
				whole = c.rep.Data
			}
			f.ahead.keep(asked, c.rep.Handle, whole)
		}()
	}
	st := f.do(cancel, c)
	if in.Flags&unix.O_TRUNC != 0 {
		f.ahead.changed(in.NodeId)
	}
	if st != fuse.OK {
		return st
	}
	f.handles.Add(1)
	changed := f.changed(in.NodeId, &c.rep.Entry.Attr)
	out.Fh = c.rep.Handle
	out.OpenFlags = f.openFlags(in.Flags, c.rep.Flags, !changed)
	if changed && f.cache != CacheAlways && in.Flags&unix.O_TRUNC == 0 {
		// Whoever opens a file sees its size too. No pages, hence no lock
		// that this request might hold.
		f.kernel.InodeNotify(in.NodeId, -1, 0)
	}
	return fuse.OK
}

func (f *files) create(cancel <-chan struct{}, c *call, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	defer c.free()
	parent := c.req.Node
	c.req.Flags, c.req.Mode, c.req.Umask = f.wireOpenFlags(in.Flags), in.Mode, in.Umask
	if st := f.do(cancel, c); st != fuse.OK {
		return st
	}
	if st := f.setEntry(&out.EntryOut, parent, &c.rep.Entry); st != fuse.OK {
		return st
	}
	if c.req.Op == wire.OpCreate {
		f.noteDir(parent, &c.rep.Dir)
	}
	f.handles.Add(1)
	out.Fh = c.rep.Handle
	out.OpenFlags = f.openFlags(in.Flags, c.rep.Flags, false)
	return fuse.OK
}

func (f *files) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return f.create(cancel, newMake(wire.OpCreate, &in.InHeader, name), in, out)
}

func (f *files) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	return f.create(cancel, newMake(wire.OpTmpfile, &in.InHeader, ""), in, out)
}

func (f *files) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	c := newCall(wire.OpRead, &in.InHeader)
	defer c.free()
	n := min(in.Size, uint32(len(buf)), wire.MaxData)
	if content := f.ahead.take(in.Fh, in.Offset); len(content) > 0 && len(content) <= int(n) {
		f.conn.read.Add(uint64(len(content)))
		f.conn.tell(&wire.Request{Op: wire.OpAccessed, Handle: in.Fh})
		return fuse.ReadResultData(content), fuse.OK
	}
	c.req.Handle, c.req.Offset, c.req.Size, c.dest = in.Fh, in.Offset, n, buf[:n]
	if st := f.do(cancel, c); st != fuse.OK {
		return nil, st
	}
	f.conn.read.Add(uint64(len(c.rep.Data)))
	return fuse.ReadResultData(c.rep.Data), fuse.OK
}

func (f *files) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	c := newCall(wire.OpWrite, &in.InHeader)
	defer c.free()
	data = data[:min(len(data), wire.MaxData)]
	defer f.ahead.changed(in.NodeId)
	c.req.Handle, c.req.Offset, c.req.Data = in.Fh, in.Offset, data
	if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		c.req.Flags = wire.WriteKill
	}
	if st := f.do(cancel, c); st != fuse.OK {
		return 0, st
	}
	if int(c.rep.Size) > len(data) {
		return 0, fuse.EIO
	}
	f.conn.written.Add(uint64(c.rep.Size))
	return c.rep.Size, fuse.OK
}

// Writev takes what go-fuse has in one piece; more pieces it joins for Write.
func (f *files) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	if len(data) != 1 {
		return 0, fuse.ENOSYS
	}
	return f.Write(cancel, in, data[0])
}

func (f *files) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	if in.Fh == noHandle || !f.unlocks(in.NodeId, in.LockOwner) {
		return fuse.OK
	}
	c := newCall(wire.OpFlush, &in.InHeader)
	defer c.free()
	c.req.Handle, c.req.Owner = in.Fh, in.LockOwner
	return f.do(cancel, c)
}

func (f *files) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	f.release(in.Fh, in.LockOwner)
}

func (f *files) release(handle, owner uint64) {
	if handle == noHandle {
		return
	}
	f.handles.Add(-1)
	f.ahead.take(handle, 0)
	f.conn.tell(&wire.Request{Op: wire.OpRelease, Handle: handle, Owner: owner})
}

func (f *files) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return f.fsync(cancel, in, in.Fh)
}

func (f *files) fsync(cancel <-chan struct{}, in *fuse.FsyncIn, handle uint64) fuse.Status {
	c := newCall(wire.OpFsync, &in.InHeader)
	defer c.free()
	c.req.Handle = handle
	if in.FsyncFlags&1 != 0 {
		c.req.Flags = wire.FsyncData
	}
	return f.do(cancel, c)
}

func (f *files) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	mode, ok := wire.FromFallocMode(in.Mode)
	if !ok {
		return fuse.Status(unix.EOPNOTSUPP)
	}
	c := newCall(wire.OpFallocate, &in.InHeader)
	defer c.free()
	defer f.ahead.changed(in.NodeId)
	c.req.Handle, c.req.Mode, c.req.Offset, c.req.Length = in.Fh, mode, in.Offset, in.Length
	return f.do(cancel, c)
}

func (f *files) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	c := newCall(wire.OpSeek, &in.InHeader)
	defer c.free()
	c.req.Handle, c.req.Offset = in.Fh, in.Offset
	switch in.Whence {
	case unix.SEEK_DATA:
		c.req.Flags = wire.SeekData
	case unix.SEEK_HOLE:
		c.req.Flags = wire.SeekHole
	default:
		return fuse.EINVAL
	}
	st := f.do(cancel, c)
	out.Offset = c.rep.Offset
	return st
}

func (f *files) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	c := newCall(wire.OpCopyRange, &in.InHeader)
	defer c.free()
	defer f.ahead.changed(in.NodeIdOut)
	c.req.Handle, c.req.Offset = in.FhIn, in.OffIn
	c.req.Handle2, c.req.Offset2 = in.FhOut, in.OffOut
	c.req.Length = min(in.Len, 1<<30)
	if st := f.do(cancel, c); st != fuse.OK {
		return 0, st
	}
	if c.rep.Length > c.req.Length {
		return 0, fuse.EIO
	}
	return uint32(c.rep.Length), fuse.OK
}
