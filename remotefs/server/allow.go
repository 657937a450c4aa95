// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
)

// Operations are what clients may do with an export. Looking up names and
// attributes, reading links and attributes by name, and closing is always allowed.
type Operations uint16

const (
	// OpenFiles opens files that are there.
	OpenFiles Operations = 1 << iota
	// ReadFiles opens them for reading, with OpenFiles.
	ReadFiles
	// WriteFiles opens them for writing, with OpenFiles, and sets their sizes.
	WriteFiles
	// ReadDirs lists directories.
	ReadDirs
	// MakeDirs makes directories.
	MakeDirs
	// RemoveDirs removes directories.
	RemoveDirs
	// Create makes everything else: files, links, FIFOs, sockets, devices.
	Create
	// Unlink removes everything else.
	Unlink
	// Rename gives other names, also those of what it replaces.
	Rename
	// SetAttrs sets owners, modes and times. Times also come with WriteFiles.
	SetAttrs
	// SetXattrs sets and removes extended attributes and access lists.
	SetXattrs

	// AllOperations are all of them.
	AllOperations = 1<<iota - 1
)

// operationNames are in the order of the bits.
var operationNames = [...]string{
	"open", "read", "write", "readdir", "mkdir", "rmdir", "create", "unlink", "rename", "setattr", "setxattr",
}

// ParseOperations understands names of operations separated by commas, such as
// "open,read,readdir". "" means all. It fails with errdefs.ErrInvalidArgument.
func ParseOperations(names string) (Operations, error) {
	if names == "" {
		return AllOperations, nil
	}
	var ops Operations
	for name := range strings.SplitSeq(names, ",") {
		i := slices.Index(operationNames[:], strings.TrimSpace(name))
		if i < 0 {
			return 0, fmt.Errorf("%q is not one of %s: %w", name, strings.Join(operationNames[:], ", "), errdefs.ErrInvalidArgument)
		}
		ops |= 1 << i
	}
	return ops, nil
}

// permits reports whether the operations include what a request on a node asks.
func (o Operations) permits(req *wire.Request) bool {
	need := Operations(0)
	switch req.Op {
	case wire.OpOpen:
		need = OpenFiles | access(req.Flags)
	case wire.OpCreate, wire.OpTmpfile:
		need = Create | access(req.Flags)
	case wire.OpSymlink, wire.OpMknod, wire.OpLink:
		need = Create
	case wire.OpOpenDir:
		need = ReadDirs
	case wire.OpMkdir:
		need = MakeDirs
	case wire.OpRmdir:
		need = RemoveDirs
	case wire.OpUnlink:
		need = Unlink
	case wire.OpRename:
		need = Rename
	case wire.OpSetXattr, wire.OpRemoveXattr:
		need = SetXattrs
	case wire.OpSetAttr:
		return o.permitsSetAttr(req.Set.Valid)
	}
	return o&need == need
}

// access is what a file is opened for.
func access(flags uint32) (need Operations) {
	switch flags & wire.OpenAccess {
	case wire.OpenRead:
		need = ReadFiles
	case wire.OpenWrite:
		need = WriteFiles
	default:
		need = ReadFiles | WriteFiles
	}
	if flags&wire.OpenTrunc != 0 {
		need |= WriteFiles
	}
	return need
}

func (o Operations) permitsSetAttr(valid uint32) bool {
	if valid&wire.SetSize != 0 && o&WriteFiles == 0 {
		return false
	}
	if valid&(wire.SetMode|wire.SetUID|wire.SetGID) != 0 && o&SetAttrs == 0 {
		return false
	}
	return valid&(wire.SetAtime|wire.SetMtime) == 0 || o&(SetAttrs|WriteFiles) != 0
}

// check fails with what a client is told of a request that the export does not
// allow.
func (x *export) check(req *wire.Request) error {
	if x.Allow != 0 && !x.Allow.permits(req) {
		return unix.EPERM
	}
	return nil
}
