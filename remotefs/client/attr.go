// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
)

// version is what tells one state of a file's content from another.
type version struct {
	size         uint64
	mtime, ctime wire.Time
}

// seen is what the kernel was told of a node.
type seen struct {
	version
	opened bool // so it may have content of it
}

// note remembers what the kernel is told of a node.
func (f *files) note(node uint64, a *wire.Attr) {
	f.mu.Lock()
	f.seen[node] = seen{version{a.Size, a.Mtime, a.Ctime}, f.seen[node].opened}
	f.mu.Unlock()
}

// isNew reports whether a node was not opened yet.
func (f *files) isNew(node uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.seen[node].opened
}

// changed remembers the attributes of a node that is being opened, and reports
// whether they are others than the kernel was told.
func (f *files) changed(node uint64, a *wire.Attr) bool {
	v := version{a.Size, a.Mtime, a.Ctime}
	f.mu.Lock()
	defer f.mu.Unlock()
	old, ok := f.seen[node]
	f.seen[node] = seen{v, true}
	return !ok || old.version != v
}

func setAttr(out *fuse.Attr, a *wire.Attr) {
	out.Ino = a.Ino
	out.Size = min(a.Size, 1<<63-1)
	out.Blocks = a.Blocks
	out.Atime, out.Atimensec = uint64(a.Atime.Sec), a.Atime.Nsec
	out.Mtime, out.Mtimensec = uint64(a.Mtime.Sec), a.Mtime.Nsec
	out.Ctime, out.Ctimensec = uint64(a.Ctime.Sec), a.Ctime.Nsec
	out.Mode, out.Nlink = a.Mode, a.Nlink
	out.Uid, out.Gid = a.UID, a.GID
	// The kernel's 32-bit form of a device number.
	out.Rdev = a.Minor&0xff | a.Major<<8 | a.Minor&^0xff<<12
	out.Blksize = a.Blksize
}

func setTimeout(sec *uint64, nsec *uint32, d time.Duration) {
	*sec, *nsec = uint64(d/time.Second), uint32(d%time.Second)
}

// setEntry tells the kernel of a file that is in the directory parent.
func (f *files) setEntry(out *fuse.EntryOut, parent uint64, e *wire.Entry) fuse.Status {
	if !plausible(e) || !f.conn.levels.admit(parent, e) {
		return fuse.EIO
	}
	out.NodeId = e.Node
	out.Generation = 0
	if e.Flags&wire.EntryVolatile == 0 {
		setTimeout(&out.EntryValid, &out.EntryValidNsec, f.entryTimeout)
	}
	setTimeout(&out.AttrValid, &out.AttrValidNsec, f.attrTimeout)
	setAttr(&out.Attr, &e.Attr)
	f.note(e.Node, &e.Attr)
	f.nodes.Add(1)
	if e.Flags&wire.EntryPlain != 0 {
		f.notePlain(e.Node)
	}
	return fuse.OK
}

// plausible reports whether an entry is one that the kernel can be told of: go-fuse
// keeps the highest node for itself, and no name leads to the root.
func plausible(e *wire.Entry) bool {
	if e.Node <= fuse.FUSE_ROOT_ID || e.Node == ^uint64(0) {
		return false
	}
	switch e.Attr.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK, unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
		return true
	}
	return false
}

// recent is what is known from a reply to something else and saves a question
// that the kernel is about to ask. It is believed as long as the kernel believes
// attributes.
type recent struct {
	at   time.Time
	attr wire.Attr
}

// keepRecent bounds how many files something recent is known of.
const keepRecent = 1024

// noteDir remembers what has become of a directory that was changed.
func (f *files) noteDir(node uint64, a *wire.Attr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.changedDirs) >= keepRecent {
		clear(f.changedDirs)
	}
	f.changedDirs[node] = recent{time.Now(), *a}
}

// takeDir gives what is known of a directory that was changed, once.
func (f *files) takeDir(node uint64) (wire.Attr, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.changedDirs[node]
	delete(f.changedDirs, node)
	return r.attr, ok && time.Since(r.at) < f.attrTimeout
}

// notePlain remembers that a file has no access list and no capabilities.
func (f *files) notePlain(node uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.plain) >= keepRecent {
		clear(f.plain)
	}
	f.plain[node] = time.Now()
}

// isPlain reports whether a file has none of the attributes for which the kernel
// asks before a first write and a chmod.
func (f *files) isPlain(node uint64, xattr string) bool {
	switch xattr {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
	default:
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at, ok := f.plain[node]
	return ok && time.Since(at) < f.attrTimeout
}

// setsXattr ends that, for replies that are on their way too.
func (f *files) setsXattr(node uint64) {
	f.xattrChanges.Add(1)
	f.notPlain(node)
}

// notPlain ends it for what is known.
func (f *files) notPlain(node uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.plain, node)
}

func (f *files) setAttrOut(out *fuse.AttrOut, node uint64, a *wire.Attr) {
	setTimeout(&out.AttrValid, &out.AttrValidNsec, f.attrTimeout)
	setAttr(&out.Attr, a)
	f.note(node, a)
}

func setSxTime(out *fuse.SxTime, t wire.Time) { out.Sec, out.Nsec = uint64(t.Sec), t.Nsec }

func (f *files) setStatxOut(out *fuse.StatxOut, node uint64, a *wire.Attr) {
	setTimeout(&out.AttrValid, &out.AttrValidNsec, f.attrTimeout)
	out.Mask = unix.STATX_BASIC_STATS
	if a.Btime != (wire.Time{}) {
		out.Mask |= unix.STATX_BTIME
	}
	out.Ino, out.Size, out.Blocks, out.Blksize = a.Ino, min(a.Size, 1<<63-1), a.Blocks, a.Blksize
	out.Mode, out.Nlink, out.Uid, out.Gid = uint16(a.Mode), a.Nlink, a.UID, a.GID
	out.RdevMajor, out.RdevMinor = a.Major, a.Minor
	setSxTime(&out.Atime, a.Atime)
	setSxTime(&out.Mtime, a.Mtime)
	setSxTime(&out.Ctime, a.Ctime)
	setSxTime(&out.Btime, a.Btime)
	f.note(node, a)
}
