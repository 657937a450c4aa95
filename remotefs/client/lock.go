// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"math"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
)

// locker is an owner of locks on a node.
type locker struct{ node, owner uint64 }

// unlocks reports whether an owner that closes a file may have locks on it, of
// which the server must know then.
func (f *files) unlocks(node, owner uint64) bool {
	l := locker{node, owner}
	f.mu.Lock()
	defer f.mu.Unlock()
	held := f.lockers[l]
	delete(f.lockers, l)
	return held
}

func newLockCall(op wire.Op, in *fuse.LkIn) (*call, fuse.Status) {
	c := newCall(op, &in.InHeader)
	c.req.Handle, c.req.Owner = in.Fh, in.Owner
	c.req.Lock = wire.Lock{Start: in.Lk.Start, End: in.Lk.End, PID: in.Lk.Pid}
	if in.Lk.End >= math.MaxInt64 {
		c.req.Lock.End = math.MaxUint64
	}
	switch in.Lk.Typ {
	case unix.F_RDLCK:
		c.req.Lock.Type = wire.LockRead
	case unix.F_WRLCK:
		c.req.Lock.Type = wire.LockWrite
	case unix.F_UNLCK:
		c.req.Lock.Type = wire.LockUnlock
	default:
		c.free()
		return nil, fuse.EINVAL
	}
	if in.LkFlags&fuse.LK_FLOCK != 0 {
		c.req.Flags = wire.LockFlock
	}
	return c, fuse.OK
}

func (f *files) GetLk(cancel <-chan struct{}, in *fuse.LkIn, out *fuse.LkOut) fuse.Status {
	c, st := newLockCall(wire.OpGetLock, in)
	if st != fuse.OK {
		return st
	}
	defer c.free()
	f.mu.Lock()
	f.lockers[locker{in.NodeId, in.Owner}] = true // it gets a lock file of no lock
	f.mu.Unlock()
	if st := f.do(cancel, c); st != fuse.OK {
		return st
	}
	l := &c.rep.Lock
	out.Lk = fuse.FileLock{Start: l.Start, End: min(l.End, math.MaxInt64), Pid: l.PID}
	switch l.Type {
	case wire.LockRead:
		out.Lk.Typ = unix.F_RDLCK
	case wire.LockWrite:
		out.Lk.Typ = unix.F_WRLCK
	default:
		out.Lk.Typ = unix.F_UNLCK
	}
	return fuse.OK
}

func (f *files) SetLk(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	return f.setLk(cancel, in, 0)
}

func (f *files) SetLkw(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	return f.setLk(cancel, in, wire.LockWait)
}

func (f *files) setLk(cancel <-chan struct{}, in *fuse.LkIn, flags uint32) fuse.Status {
	c, st := newLockCall(wire.OpSetLock, in)
	if st != fuse.OK {
		return st
	}
	defer c.free()
	if in.LkFlags&fuse.LK_FLOCK == 0 {
		f.mu.Lock()
		f.lockers[locker{in.NodeId, in.Owner}] = true
		f.mu.Unlock()
	}
	c.req.Flags |= flags
	return f.do(cancel, c)
}
