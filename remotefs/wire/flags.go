// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import "golang.org/x/sys/unix"

// Flags of Open, Create and Tmpfile requests. The lowest two bits are the
// access: 0 read, 1 write, 2 both.
const (
	OpenAccess = 3
	OpenRead   = 0
	OpenWrite  = 1
	OpenBoth   = 2

	OpenAppend   = 1 << 2
	OpenTrunc    = 1 << 3
	OpenExcl     = 1 << 4
	OpenDirect   = 1 << 5
	OpenSync     = 1 << 6
	OpenDataSync = 1 << 7
	OpenNoAtime  = 1 << 8
	// OpenKill clears the set-user-id and set-group-id bits with OpenTrunc.
	OpenKill = 1 << 9
)

// Flags of Open, Create, Tmpfile and OpenDir replies.
const (
	// OpenedStream: the size says nothing about the content, as in /proc.
	OpenedStream = 1 << 0
	// OpenedWhole: the reply's data is all that the file has.
	OpenedWhole = 1 << 1
)

// Flags of other requests.
const (
	RenameNoReplace = 1 << 0
	RenameExchange  = 1 << 1
	RenameWhiteout  = 1 << 2

	XattrCreate  = 1 << 0
	XattrReplace = 1 << 1

	// WriteKill clears the set-user-id and set-group-id bits.
	WriteKill = 1 << 0

	FsyncData = 1 << 0

	ReadDirPlus = 1 << 0

	// LockFlock is flock(2)'s lock, of the handle instead of the owner.
	LockFlock = 1 << 0
	// LockWait waits for the lock until the request is cancelled.
	LockWait = 1 << 1

	SeekData = 1
	SeekHole = 2

	FallocKeepSize   = 1 << 0
	FallocPunchHole  = 1 << 1
	FallocZeroRange  = 1 << 2
	FallocCollapse   = 1 << 3
	FallocInsert     = 1 << 4
	FallocUnshare    = 1 << 5
	fallocKnownFlags = 1<<6 - 1
)

var openFlags = [...]struct{ wire, linux uint32 }{
	{OpenAppend, unix.O_APPEND},
	{OpenTrunc, unix.O_TRUNC},
	{OpenExcl, unix.O_EXCL},
	{OpenDirect, unix.O_DIRECT},
	// O_SYNC includes O_DSYNC's bit.
	{OpenSync, unix.O_SYNC},
	{OpenDataSync, unix.O_DSYNC},
	{OpenNoAtime, unix.O_NOATIME},
}

// FromOpenFlags gives the wire's flags for open(2)'s of this machine. What the
// wire does not know is left out.
func FromOpenFlags(flags uint32) uint32 {
	w := flags & unix.O_ACCMODE
	for _, f := range openFlags {
		if flags&f.linux == f.linux {
			w |= f.wire
		}
	}
	return w
}

// ToOpenFlags gives open(2)'s flags on this machine for the wire's.
func ToOpenFlags(flags uint32) int {
	l := flags & OpenAccess
	for _, f := range openFlags {
		if flags&f.wire != 0 {
			l |= f.linux
		}
	}
	return int(l)
}

var fallocFlags = [...]struct{ wire, linux uint32 }{
	{FallocKeepSize, unix.FALLOC_FL_KEEP_SIZE},
	{FallocPunchHole, unix.FALLOC_FL_PUNCH_HOLE},
	{FallocZeroRange, unix.FALLOC_FL_ZERO_RANGE},
	{FallocCollapse, unix.FALLOC_FL_COLLAPSE_RANGE},
	{FallocInsert, unix.FALLOC_FL_INSERT_RANGE},
	{FallocUnshare, unix.FALLOC_FL_UNSHARE_RANGE},
}

// FromFallocMode gives the wire's flags for fallocate(2)'s mode, and false if
// there is one that the wire does not know.
func FromFallocMode(mode uint32) (uint32, bool) {
	w := uint32(0)
	for _, f := range fallocFlags {
		if mode&f.linux != 0 {
			w |= f.wire
			mode &^= f.linux
		}
	}
	return w, mode == 0
}

// ToFallocMode gives fallocate(2)'s mode for the wire's flags, and false if
// they have one that is not known.
func ToFallocMode(flags uint32) (uint32, bool) {
	mode := uint32(0)
	for _, f := range fallocFlags {
		if flags&f.wire != 0 {
			mode |= f.linux
		}
	}
	return mode, flags&^fallocKnownFlags == 0
}
