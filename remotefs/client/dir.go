// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
)

// dirAhead is how much of a directory is asked for at once, in bytes: the kernel
// asks for a page or a few.
const dirAhead = 64 << 10

// dir is a directory that is open: its handle on the server, and entries that came
// with those the kernel had asked for.
type dir struct {
	node uint64

	mu      sync.Mutex
	handle  uint64 // valid if opened
	opened  bool
	entries []byte
	next    uint64 // the offset of the first of entries
	plus    bool   // entries count as looked up
	used    uint64 // how often the kernel has asked
}

// OpenDir asks nobody: most programs that open a directory only reach files by it.
// The server opens it when it is read. The client's kernel has checked that it may
// be.
func (f *files) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastDir++
	f.dirs[f.lastDir] = &dir{node: in.NodeId}
	out.Fh = f.lastDir
	return fuse.OK
}

// dir finds a directory that is open.
func (f *files) dir(fh uint64) *dir {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dirs[fh]
}

// openDir opens the directory on the server, if it is not yet. d is locked.
func (f *files) openDir(cancel <-chan struct{}, header *fuse.InHeader, d *dir) fuse.Status {
	if d.opened {
		return fuse.OK
	}
	c := newCall(wire.OpOpenDir, header)
	defer c.free()
	c.req.Node = d.node
	if st := f.do(cancel, c); st != fuse.OK {
		return st
	}
	f.handles.Add(1)
	d.handle, d.opened = c.rep.Handle, true
	return fuse.OK
}

func (f *files) ReleaseDir(in *fuse.ReleaseIn) {
	f.mu.Lock()
	d := f.dirs[in.Fh]
	delete(f.dirs, in.Fh)
	f.mu.Unlock()
	if d == nil {
		return
	}
	f.dropEntries(d)
	if d.opened {
		f.release(d.handle, 0)
	}
}

func (f *files) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	d := f.dir(in.Fh)
	if d == nil {
		return fuse.EBADF
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if st := f.openDir(cancel, &in.InHeader, d); st != fuse.OK {
		return st
	}
	return f.fsync(cancel, in, d.handle)
}

// dropEntries drops what the kernel has not asked for.
func (f *files) dropEntries(d *dir) {
	for d.plus && len(d.entries) > 0 {
		e, rest, err := wire.NextDirEntry(d.entries)
		if err != nil {
			break
		}
		if e.Plus {
			f.conn.forget(e.Entry.Node, 1)
		}
		d.entries = rest
	}
	d.entries = nil
}

func (f *files) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.readDir(cancel, in, out, false)
}

func (f *files) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.readDir(cancel, in, out, true)
}

func (f *files) readDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList, plus bool) fuse.Status {
	d := f.dir(in.Fh)
	if d == nil {
		return fuse.EBADF
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if in.Offset == 0 || in.Offset != d.next || plus != d.plus {
		f.dropEntries(d)
	}
	if len(d.entries) == 0 {
		if st := f.fillDir(cancel, in, d, plus); st != fuse.OK {
			return st
		}
	}
	for len(d.entries) > 0 {
		e, rest, err := wire.NextDirEntry(d.entries)
		if err != nil {
			d.entries = nil
			f.conn.fail(err)
			return fuse.EIO
		}
		if !f.addDirEntry(out, in.NodeId, &e, plus) {
			break
		}
		d.entries, d.next = rest, e.Offset
	}
	return fuse.OK
}

// fillDir asks the server for entries: for as many as the kernel wants at first,
// then for more.
func (f *files) fillDir(cancel <-chan struct{}, in *fuse.ReadIn, d *dir, plus bool) fuse.Status {
	if st := f.openDir(cancel, &in.InHeader, d); st != fuse.OK {
		return st
	}
	size := min(in.Size, wire.MaxData)
	if d.used > 0 {
		size = max(size, dirAhead)
	}
	d.used++
	c := newCall(wire.OpReadDir, &in.InHeader)
	defer c.free()
	c.req.Handle, c.req.Offset, c.req.Size = d.handle, in.Offset, size
	if plus {
		c.req.Flags = wire.ReadDirPlus
	}
	c.dest = make([]byte, size)
	if st := f.do(cancel, c); st != fuse.OK {
		return st
	}
	d.entries, d.next, d.plus = c.rep.Data, in.Offset, plus
	return fuse.OK
}

// addDirEntry tells the kernel of an entry, and reports whether there was room.
func (f *files) addDirEntry(out *fuse.DirEntryList, parent uint64, e *wire.DirEntry, plus bool) bool {
	de := fuse.DirEntry{Name: e.Name, Ino: e.Ino, Off: e.Offset, Mode: uint32(e.Type) << 12}
	if !plus {
		return out.AddDirEntry(de)
	}
	known := e.Plus && plausible(&e.Entry) && f.conn.levels.admits(parent, &e.Entry)
	if known {
		de.Mode = e.Entry.Attr.Mode & unix.S_IFMT
	}
	entry := out.AddDirLookupEntry(de)
	switch {
	case entry == nil:
		return false
	case known:
		f.setEntry(entry, parent, &e.Entry)
	case e.Plus:
		f.conn.forget(e.Entry.Node, 1)
	}
	// Else the node is 0, and the kernel takes the name only.
	return true
}
