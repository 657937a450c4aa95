// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"fmt"
)

// Op names an operation.
type Op uint8

// The operations. Forget, Release and Accessed have no reply.
const (
	OpHello Op = iota + 1
	OpLookup
	OpForget
	OpGetAttr
	OpSetAttr
	OpReadlink
	OpSymlink
	OpMknod
	OpMkdir
	OpUnlink
	OpRmdir
	OpRename
	OpLink
	OpOpen
	OpCreate
	OpTmpfile
	OpRead
	OpWrite
	OpFlush
	OpRelease
	OpFsync
	OpOpenDir
	OpReadDir
	OpStatFS
	OpGetXattr
	OpListXattr
	OpSetXattr
	OpRemoveXattr
	OpGetLock
	OpSetLock
	OpFallocate
	OpSeek
	OpCopyRange
	OpSyncFS
	// OpAccessed tells that the content that came with an open was read.
	OpAccessed
	opEnd
)

// field is one of a request's or a reply's fields.
type field uint8

const (
	fNode field = iota + 1
	fNode2
	fHandle
	fHandle2
	fFlags
	fMode
	fUmask
	fCaller
	fDevice
	fOffset
	fOffset2
	fLength
	fSize
	fOwner
	fLock
	fSet
	fName
	fExport // a name, or an absolute path
	fName2
	fTarget
	fData // not in the body: the frame's data

	fEntry // a reply's: the node and its attributes
	fAttr
	fDir // the attributes of the directory that was changed
	fStatFS
	fVersion
)

// layout is the order of an operation's fields.
type layout struct {
	name    string
	request []field
	reply   []field
	oneWay  bool
}

var layouts = [opEnd]layout{
	OpHello:       {name: "hello", request: []field{fVersion, fExport}, reply: []field{fVersion, fSize, fEntry}},
	OpLookup:      {name: "lookup", request: []field{fNode, fName}, reply: []field{fEntry}},
	OpForget:      {name: "forget", request: []field{fData}, oneWay: true},
	OpGetAttr:     {name: "getattr", request: []field{fNode, fHandle}, reply: []field{fAttr}},
	OpSetAttr:     {name: "setattr", request: []field{fNode, fHandle, fSet}, reply: []field{fAttr}},
	OpReadlink:    {name: "readlink", request: []field{fNode}, reply: []field{fData}},
	OpSymlink:     {name: "symlink", request: []field{fNode, fName, fTarget, fCaller}, reply: []field{fEntry, fDir}},
	OpMknod:       {name: "mknod", request: []field{fNode, fName, fMode, fUmask, fDevice, fCaller}, reply: []field{fEntry, fDir}},
	OpMkdir:       {name: "mkdir", request: []field{fNode, fName, fMode, fUmask, fCaller}, reply: []field{fEntry, fDir}},
	OpUnlink:      {name: "unlink", request: []field{fNode, fName}, reply: []field{fDir}},
	OpRmdir:       {name: "rmdir", request: []field{fNode, fName}, reply: []field{fDir}},
	OpRename:      {name: "rename", request: []field{fNode, fName, fNode2, fName2, fFlags}, reply: []field{fDir}},
	OpLink:        {name: "link", request: []field{fNode, fName, fNode2}, reply: []field{fEntry, fDir}},
	OpOpen:        {name: "open", request: []field{fNode, fFlags, fSize}, reply: []field{fHandle, fFlags, fAttr, fData}},
	OpCreate:      {name: "create", request: []field{fNode, fName, fFlags, fMode, fUmask, fCaller}, reply: []field{fHandle, fFlags, fEntry, fDir}},
	OpTmpfile:     {name: "tmpfile", request: []field{fNode, fFlags, fMode, fUmask, fCaller}, reply: []field{fHandle, fFlags, fEntry}},
	OpRead:        {name: "read", request: []field{fHandle, fOffset, fSize}, reply: []field{fData}},
	OpWrite:       {name: "write", request: []field{fHandle, fOffset, fFlags, fData}, reply: []field{fSize}},
	OpFlush:       {name: "flush", request: []field{fHandle, fOwner}},
	OpRelease:     {name: "release", request: []field{fHandle, fOwner}, oneWay: true},
	OpFsync:       {name: "fsync", request: []field{fHandle, fFlags}},
	OpOpenDir:     {name: "opendir", request: []field{fNode}, reply: []field{fHandle, fFlags}},
	OpReadDir:     {name: "readdir", request: []field{fHandle, fOffset, fSize, fFlags}, reply: []field{fData}},
	OpStatFS:      {name: "statfs", request: []field{fNode}, reply: []field{fStatFS}},
	OpGetXattr:    {name: "getxattr", request: []field{fNode, fName, fSize}, reply: []field{fSize, fData}},
	OpListXattr:   {name: "listxattr", request: []field{fNode, fSize}, reply: []field{fSize, fData}},
	OpSetXattr:    {name: "setxattr", request: []field{fNode, fName, fFlags, fData}},
	OpRemoveXattr: {name: "removexattr", request: []field{fNode, fName}},
	OpGetLock:     {name: "getlock", request: []field{fHandle, fOwner, fFlags, fLock}, reply: []field{fLock}},
	OpSetLock:     {name: "setlock", request: []field{fHandle, fOwner, fFlags, fLock}},
	OpFallocate:   {name: "fallocate", request: []field{fHandle, fMode, fOffset, fLength}},
	OpSeek:        {name: "seek", request: []field{fHandle, fOffset, fFlags}, reply: []field{fOffset}},
	OpCopyRange:   {name: "copyrange", request: []field{fHandle, fOffset, fHandle2, fOffset2, fLength}, reply: []field{fLength}},
	OpSyncFS:      {name: "syncfs", request: []field{fNode}},
	OpAccessed:    {name: "accessed", request: []field{fHandle}, oneWay: true},
}

// String returns the operation's name.
func (op Op) String() string {
	if !op.Known() {
		return fmt.Sprintf("operation %d", uint8(op))
	}
	return layouts[op].name
}

// Known reports whether the operation is one of the protocol's.
func (op Op) Known() bool { return op > 0 && op < opEnd }

// OneWay reports whether the operation has no reply.
func (op Op) OneWay() bool { return op.Known() && layouts[op].oneWay }

// RequestData and ReplyData report whether a request or a reply of the
// operation has data.
func (op Op) RequestData() bool { return op.Known() && has(layouts[op].request, fData) }

// ReplyData reports whether a reply of the operation has data.
func (op Op) ReplyData() bool { return op.Known() && has(layouts[op].reply, fData) }

func has(fields []field, f field) bool {
	for _, g := range fields {
		if g == f {
			return true
		}
	}
	return false
}

// Request is what a client asks. Which fields an operation has, and in which
// order they cross, is in the protocol's table; the others stay zero.
type Request struct {
	Op              Op
	Node, Node2     uint64
	Handle, Handle2 uint64
	Flags           uint32
	Mode, Umask     uint32
	UID, GID        uint32
	Major, Minor    uint32
	Offset, Offset2 uint64
	Length          uint64
	Size            uint32
	Owner           uint64
	Lock            Lock
	Set             SetAttr
	Name, Name2     string
	Target          string
	Magic, Version  uint32
	Data            []byte
}

// AppendBody appends the request's fields, without its data.
func (r *Request) AppendBody(b []byte) []byte {
	le := binary.LittleEndian
	for _, f := range layouts[r.Op].request {
		switch f {
		case fNode:
			b = le.AppendUint64(b, r.Node)
		case fNode2:
			b = le.AppendUint64(b, r.Node2)
		case fHandle:
			b = le.AppendUint64(b, r.Handle)
		case fHandle2:
			b = le.AppendUint64(b, r.Handle2)
		case fFlags:
			b = le.AppendUint32(b, r.Flags)
		case fMode:
			b = le.AppendUint32(b, r.Mode)
		case fUmask:
			b = le.AppendUint32(b, r.Umask)
		case fCaller:
			b = le.AppendUint32(le.AppendUint32(b, r.UID), r.GID)
		case fDevice:
			b = le.AppendUint32(le.AppendUint32(b, r.Major), r.Minor)
		case fOffset:
			b = le.AppendUint64(b, r.Offset)
		case fOffset2:
			b = le.AppendUint64(b, r.Offset2)
		case fLength:
			b = le.AppendUint64(b, r.Length)
		case fSize:
			b = le.AppendUint32(b, r.Size)
		case fOwner:
			b = le.AppendUint64(b, r.Owner)
		case fLock:
			b = r.Lock.append(b)
		case fSet:
			b = r.Set.append(b)
		case fName, fExport:
			b = appendString(b, r.Name)
		case fName2:
			b = appendString(b, r.Name2)
		case fTarget:
			b = appendString(b, r.Target)
		case fVersion:
			b = le.AppendUint32(le.AppendUint32(b, r.Magic), r.Version)
		}
	}
	return b
}

// ParseBody decodes the fields of an operation's request into r, which keeps
// its data.
func (r *Request) ParseBody(op Op, body []byte) error {
	if !op.Known() {
		return fmt.Errorf("%w: %s", ErrProtocol, op)
	}
	*r = Request{Op: op, Data: r.Data}
	d := decoder{b: body}
	for _, f := range layouts[op].request {
		switch f {
		case fNode:
			r.Node = d.u64()
		case fNode2:
			r.Node2 = d.u64()
		case fHandle:
			r.Handle = d.u64()
		case fHandle2:
			r.Handle2 = d.u64()
		case fFlags:
			r.Flags = d.u32()
		case fMode:
			r.Mode = d.u32()
		case fUmask:
			r.Umask = d.u32()
		case fCaller:
			r.UID, r.GID = d.u32(), d.u32()
		case fDevice:
			r.Major, r.Minor = d.u32(), d.u32()
		case fOffset:
			r.Offset = d.u64()
		case fOffset2:
			r.Offset2 = d.u64()
		case fLength:
			r.Length = d.u64()
		case fSize:
			r.Size = d.u32()
		case fOwner:
			r.Owner = d.u64()
		case fLock:
			r.Lock = d.lock()
		case fSet:
			r.Set = d.setAttr()
		case fName:
			r.Name = d.str(MaxName)
		case fExport:
			r.Name = d.str(MaxTarget)
		case fName2:
			r.Name2 = d.str(MaxName)
		case fTarget:
			r.Target = d.str(MaxTarget)
		case fVersion:
			r.Magic, r.Version = d.u32(), d.u32()
		}
	}
	if err := d.end(); err != nil {
		return fmt.Errorf("%s request: %w", op, err)
	}
	return nil
}

// Reply is what a server answers. Which fields an operation has is in the
// protocol's table.
type Reply struct {
	Handle         uint64
	Flags          uint32
	Size           uint32
	Offset, Length uint64
	Entry          Entry
	// Dir is what has become of the directory in which something was changed.
	Dir            Attr
	Lock           Lock
	StatFS         StatFS
	Magic, Version uint32
	Data           []byte
}

// AppendBody appends the fields of the operation's reply, without its data.
func (r *Reply) AppendBody(op Op, b []byte) []byte {
	le := binary.LittleEndian
	for _, f := range layouts[op].reply {
		switch f {
		case fHandle:
			b = le.AppendUint64(b, r.Handle)
		case fFlags:
			b = le.AppendUint32(b, r.Flags)
		case fSize:
			b = le.AppendUint32(b, r.Size)
		case fOffset:
			b = le.AppendUint64(b, r.Offset)
		case fLength:
			b = le.AppendUint64(b, r.Length)
		case fEntry:
			b = r.Entry.append(b)
		case fAttr:
			b = r.Entry.Attr.append(b)
		case fDir:
			b = r.Dir.append(b)
		case fLock:
			b = r.Lock.append(b)
		case fStatFS:
			b = r.StatFS.append(b)
		case fVersion:
			b = le.AppendUint32(le.AppendUint32(b, r.Magic), r.Version)
		}
	}
	return b
}

// ParseBody decodes the fields of an operation's reply into r, which keeps its
// data.
func (r *Reply) ParseBody(op Op, body []byte) error {
	if !op.Known() {
		return fmt.Errorf("%w: %s", ErrProtocol, op)
	}
	*r = Reply{Data: r.Data}
	d := decoder{b: body}
	for _, f := range layouts[op].reply {
		switch f {
		case fHandle:
			r.Handle = d.u64()
		case fFlags:
			r.Flags = d.u32()
		case fSize:
			r.Size = d.u32()
		case fOffset:
			r.Offset = d.u64()
		case fLength:
			r.Length = d.u64()
		case fEntry:
			r.Entry = d.entry()
		case fAttr:
			r.Entry.Attr = d.attr()
		case fDir:
			r.Dir = d.attr()
		case fLock:
			r.Lock = d.lock()
		case fStatFS:
			r.StatFS = d.statFS()
		case fVersion:
			r.Magic, r.Version = d.u32(), d.u32()
		}
	}
	if err := d.end(); err != nil {
		return fmt.Errorf("%s reply: %w", op, err)
	}
	return nil
}
