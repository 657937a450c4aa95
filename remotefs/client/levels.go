// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
)

// levels holds the server to [Options.Directories]. A directory that may hold
// nothing but directories has a number for the kernel which says so, and for how
// many levels: in the upper bits, which are no part of a server's numbers then. So
// there is no table, which a server could get to mean another directory.
type levels int

// levelShift is where, in the kernel's number of a node, the levels are.
const levelShift = 60

// maxLevels is how many levels fit there.
const maxLevels = 1<<(64-levelShift) - 1

// server returns the server's number of a node.
func (l levels) server(node uint64) uint64 {
	if l == 0 {
		return node
	}
	return node & (1<<levelShift - 1)
}

// below is on how many levels below a directory there are directories only.
func (l levels) below(parent uint64) levels {
	if parent == fuse.FUSE_ROOT_ID {
		return l
	}
	if l == 0 {
		return 0
	}
	return levels(parent >> levelShift)
}

// admits reports whether the kernel can be told of an entry that the server has in
// the directory parent.
func (l levels) admits(parent uint64, entry *wire.Entry) bool {
	return l == 0 || entry.Node>>levelShift == 0 &&
		(l.below(parent) == 0 || entry.Attr.Mode&unix.S_IFMT == unix.S_IFDIR)
}

// admit gives such an entry its number for the kernel, and reports false for one of
// which the kernel must not be told.
func (l levels) admit(parent uint64, entry *wire.Entry) bool {
	if !l.admits(parent, entry) {
		return false
	}
	if below := l.below(parent); below > 0 {
		entry.Node |= uint64(below-1) << levelShift
	}
	return true
}
