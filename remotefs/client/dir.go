// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
)

func (f *files) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	c := newCall(wire.OpOpenDir, &in.InHeader)
	defer c.free()
	c.req.Node = in.NodeId
	if st := f.do(cancel, c); st != fuse.OK {
		return st
	}
	f.handles.Add(1)
	out.Fh = c.rep.Handle
	return fuse.OK
}

func (f *files) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.readDir(cancel, in, out, 0)
}

func (f *files) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.readDir(cancel, in, out, wire.ReadDirPlus)
}

func (f *files) readDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList, flags uint32) fuse.Status {
	c := newCall(wire.OpReadDir, &in.InHeader)
	defer c.free()
	size := min(in.Size, wire.MaxData)
	c.req.Handle, c.req.Offset, c.req.Size, c.req.Flags = in.Fh, in.Offset, size, flags
	c.dest = make([]byte, size)
	if st := f.do(cancel, c); st != fuse.OK {
		return st
	}
	for data := c.rep.Data; len(data) > 0; {
		e, rest, err := wire.NextDirEntry(data)
		if err != nil {
			f.conn.fail(err)
			return fuse.EIO
		}
		if !f.addDirEntry(out, &e, flags) && e.Plus {
			f.conn.forget(e.Entry.Node, 1)
		}
		data = rest
	}
	return fuse.OK
}

// addDirEntry reports whether the kernel gets to know of the entry's node.
func (f *files) addDirEntry(out *fuse.DirEntryList, e *wire.DirEntry, flags uint32) bool {
	de := fuse.DirEntry{Name: e.Name, Ino: e.Ino, Off: e.Offset, Mode: uint32(e.Type) << 12}
	if flags&wire.ReadDirPlus == 0 {
		out.AddDirEntry(de)
		return false
	}
	if e.Plus && plausible(&e.Entry) {
		de.Mode = e.Entry.Attr.Mode & unix.S_IFMT
		entry := out.AddDirLookupEntry(de)
		return entry != nil && f.setEntry(entry, &e.Entry) == fuse.OK
	}
	// A node of 0: the kernel takes the name only.
	if entry := out.AddDirLookupEntry(de); entry != nil {
		entry.Attr = fuse.Attr{}
	}
	return false
}
