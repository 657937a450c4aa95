// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"fmt"
)

// Time is a point in time since 1970 in UTC.
type Time struct {
	Sec  int64
	Nsec uint32
}

// Attr is what stat(2) tells of a file. Mode has the type and permission bits
// of Linux, which are the same on all architectures.
type Attr struct {
	Ino, Size, Blocks          uint64
	Atime, Mtime, Ctime, Btime Time
	Mode, Nlink                uint32
	UID, GID                   uint32
	Major, Minor               uint32
	Blksize                    uint32
}

// AttrSize is the size of an Attr's bytes.
const AttrSize = 3*8 + 4*12 + 7*4

// Entry flags.
const (
	// EntryVolatile: the name must be looked up each time it is used.
	EntryVolatile = 1 << 0
	// EntryPlain: the file has no access list and no capabilities.
	EntryPlain = 1 << 1
)

// Entry is a file that was looked up: the node counts one reference more, until
// it is forgotten.
type Entry struct {
	Node  uint64
	Flags uint32
	Attr  Attr
}

// StatFS is what statfs(2) tells of a file system. Blocks are of Frsize bytes.
type StatFS struct {
	Blocks, Bfree, Bavail, Files, Ffree uint64
	Bsize, Frsize, NameLen              uint32
}

// Types of a Lock.
const (
	LockRead   = 0
	LockWrite  = 1
	LockUnlock = 2
)

// Lock is a lock on the bytes Start to End, both included. End is MaxUint64 for
// all there ever are.
type Lock struct {
	Start, End uint64
	Type, PID  uint32
}

// What a SetAttr sets.
const (
	SetMode = 1 << iota
	SetUID
	SetGID
	SetSize
	SetAtime
	SetMtime
	SetAtimeNow
	SetMtimeNow
	// SetKill clears the set-user-id and set-group-id bits as a write does.
	SetKill
)

// SetAttr are the attributes to set, as far as Valid names them.
type SetAttr struct {
	Valid, Mode, UID, GID uint32
	Size                  uint64
	Atime, Mtime          Time
}

func (t Time) append(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(b, uint64(t.Sec)), t.Nsec)
}

func (d *decoder) time() Time {
	t := Time{Sec: int64(d.u64()), Nsec: d.u32()}
	if d.err == nil && t.Nsec >= 1e9 {
		d.err = fmt.Errorf("%w: %d nanoseconds", ErrProtocol, t.Nsec)
	}
	return t
}

func (a *Attr) append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, a.Ino)
	b = le.AppendUint64(b, a.Size)
	b = le.AppendUint64(b, a.Blocks)
	b = a.Btime.append(a.Ctime.append(a.Mtime.append(a.Atime.append(b))))
	for _, v := range [...]uint32{a.Mode, a.Nlink, a.UID, a.GID, a.Major, a.Minor, a.Blksize} {
		b = le.AppendUint32(b, v)
	}
	return b
}

func (d *decoder) attr() Attr {
	return Attr{
		Ino: d.u64(), Size: d.u64(), Blocks: d.u64(),
		Atime: d.time(), Mtime: d.time(), Ctime: d.time(), Btime: d.time(),
		Mode: d.u32(), Nlink: d.u32(), UID: d.u32(), GID: d.u32(),
		Major: d.u32(), Minor: d.u32(), Blksize: d.u32(),
	}
}

func (e *Entry) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, e.Node)
	b = binary.LittleEndian.AppendUint32(b, e.Flags)
	return e.Attr.append(b)
}

func (d *decoder) entry() Entry {
	return Entry{Node: d.u64(), Flags: d.u32(), Attr: d.attr()}
}

func (s *StatFS) append(b []byte) []byte {
	le := binary.LittleEndian
	for _, v := range [...]uint64{s.Blocks, s.Bfree, s.Bavail, s.Files, s.Ffree} {
		b = le.AppendUint64(b, v)
	}
	return le.AppendUint32(le.AppendUint32(le.AppendUint32(b, s.Bsize), s.Frsize), s.NameLen)
}

func (d *decoder) statFS() StatFS {
	return StatFS{
		Blocks: d.u64(), Bfree: d.u64(), Bavail: d.u64(), Files: d.u64(), Ffree: d.u64(),
		Bsize: d.u32(), Frsize: d.u32(), NameLen: d.u32(),
	}
}

func (l Lock) append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(le.AppendUint64(b, l.Start), l.End)
	return le.AppendUint32(le.AppendUint32(b, l.Type), l.PID)
}

func (d *decoder) lock() Lock {
	l := Lock{Start: d.u64(), End: d.u64(), Type: d.u32(), PID: d.u32()}
	if d.err == nil && l.Type > LockUnlock {
		d.err = fmt.Errorf("%w: lock of type %d", ErrProtocol, l.Type)
	}
	return l
}

func (s *SetAttr) append(b []byte) []byte {
	le := binary.LittleEndian
	for _, v := range [...]uint32{s.Valid, s.Mode, s.UID, s.GID} {
		b = le.AppendUint32(b, v)
	}
	return s.Mtime.append(s.Atime.append(le.AppendUint64(b, s.Size)))
}

func (d *decoder) setAttr() SetAttr {
	return SetAttr{
		Valid: d.u32(), Mode: d.u32(), UID: d.u32(), GID: d.u32(),
		Size: d.u64(), Atime: d.time(), Mtime: d.time(),
	}
}

// Forget is one node of a Forget request's data, and how many of its
// references are given back.
type Forget struct{ Node, Count uint64 }

// ForgetSize is the size of a Forget's bytes.
const ForgetSize = 16

// Append appends the Forget's bytes.
func (f Forget) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, f.Node), f.Count)
}

// NextForget decodes the first Forget of data and returns what follows it.
func NextForget(data []byte) (Forget, []byte, error) {
	d := decoder{b: data}
	f := Forget{Node: d.u64(), Count: d.u64()}
	return f, d.b, d.err
}

// DirEntry is one name of a ReadDir reply's data. Offset continues after it.
type DirEntry struct {
	Ino, Offset uint64
	// Type is the file type as in Mode, shifted right by 12.
	Type uint8
	// Plus: Entry is set, and counts as looked up.
	Plus  bool
	Name  string
	Entry Entry
}

// Append appends the DirEntry's bytes.
func (e *DirEntry) Append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(le.AppendUint64(b, e.Ino), e.Offset)
	plus := byte(0)
	if e.Plus {
		plus = 1
	}
	b = append(b, e.Type, plus)
	b = appendString(b, e.Name)
	if e.Plus {
		b = e.Entry.append(b)
	}
	return b
}

// NextDirEntry decodes the first DirEntry of data and returns what follows it.
func NextDirEntry(data []byte) (DirEntry, []byte, error) {
	d := decoder{b: data}
	e := DirEntry{Ino: d.u64(), Offset: d.u64()}
	t := d.take(2)
	e.Type, e.Plus = t[0], t[1] == 1
	e.Name = d.str(MaxName)
	if e.Plus {
		e.Entry = d.entry()
	}
	return e, d.b, d.err
}

// DirCost is what an entry takes of the size that a ReadDir request names, in
// bytes: no less than what its bytes and any kernel's form of it take.
func DirCost(nameLen int, plus bool) int {
	cost := 24 + (nameLen+7)&^7
	if plus {
		cost += 128
	}
	return cost
}
