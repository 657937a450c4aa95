// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
)

// A lock of fcntl(2) belongs to a process, which here is an owner the client
// names, and goes when that closes the file. Here each owner of locks on a node
// has an open file description of its own, with locks of that description
// (F_OFD_SETLK): they meet the locks of this machine's processes, and closing
// the description gives all of them back.

// lockKey names an owner of locks on a node.
type lockKey struct {
	node, owner uint64
}

// lockFile is the open file description that has the owner's locks.
type lockFile struct {
	exp *export
	fd  int
}

// The pause between two attempts to get a lock that another has.
const (
	lockPauseShort = time.Millisecond
	lockPauseLong  = 50 * time.Millisecond
)

func flockT(l wire.Lock) (unix.Flock_t, error) {
	if l.Start > math.MaxInt64 || l.End < l.Start {
		return unix.Flock_t{}, unix.EINVAL
	}
	f := unix.Flock_t{Type: unix.F_RDLCK, Start: int64(l.Start)}
	if l.End < math.MaxInt64 {
		f.Len = int64(l.End - l.Start + 1)
	}
	switch l.Type {
	case wire.LockWrite:
		f.Type = unix.F_WRLCK
	case wire.LockUnlock:
		f.Type = unix.F_UNLCK
	}
	return f, nil
}

// lockFD gives the descriptor with the owner's locks on the handle's file. It
// is opened for all that the handle's own may not be: a lock for reading needs a
// file open for reading.
func (s *session) lockFD(h *handle, owner uint64) (int, error) {
	key := lockKey{h.node, owner}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.locks[key]; l != nil {
		return l.fd, nil
	}
	if len(s.locks) >= s.srv.opts.MaxHandles {
		return -1, unix.ENOLCK
	}
	fd, err := unix.Open(procPath(h.fd), unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		mode, _ := unix.FcntlInt(uintptr(h.fd), unix.F_GETFL, 0)
		fd, err = unix.Open(procPath(h.fd), mode&unix.O_ACCMODE|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	}
	if err != nil {
		return -1, err
	}
	s.locks[key] = &lockFile{exp: h.exp, fd: fd}
	return fd, nil
}

// dropLocks gives back all of an owner's locks on the handle's file.
func (s *session) dropLocks(handleID, owner uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.handles[handleID]
	if h == nil {
		return
	}
	key := lockKey{h.node, owner}
	if l := s.locks[key]; l != nil {
		unix.Close(l.fd)
		delete(s.locks, key)
	}
}

func (s *session) getLock(req *wire.Request, rep *wire.Reply) error {
	h, err := s.use(req.Handle, false)
	if err != nil {
		return err
	}
	defer s.done(h)
	f, err := flockT(req.Lock)
	if err != nil {
		return err
	}
	fd, err := s.lockFD(h, req.Owner)
	if err != nil {
		return err
	}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &f); err != nil {
		return err
	}
	rep.Lock = wire.Lock{Type: wire.LockRead, Start: uint64(f.Start), End: math.MaxUint64, PID: uint32(max(f.Pid, 0))}
	switch f.Type {
	case unix.F_UNLCK:
		rep.Lock.Type = wire.LockUnlock
	case unix.F_WRLCK:
		rep.Lock.Type = wire.LockWrite
	}
	if f.Len > 0 {
		rep.Lock.End = uint64(f.Start + f.Len - 1)
	}
	return nil
}

func (s *session) setLock(req *wire.Request) error {
	h, err := s.use(req.Handle, false)
	if err != nil {
		return err
	}
	defer s.done(h)
	return s.tryLock(h, req)
}

func (s *session) tryLock(h *handle, req *wire.Request) error {
	if req.Flags&wire.LockFlock != 0 {
		how := [...]int{wire.LockRead: unix.LOCK_SH, wire.LockWrite: unix.LOCK_EX, wire.LockUnlock: unix.LOCK_UN}
		return unix.Flock(h.fd, how[req.Lock.Type]|unix.LOCK_NB)
	}
	f, err := flockT(req.Lock)
	if err != nil {
		return err
	}
	fd, err := s.lockFD(h, req.Owner)
	if err != nil {
		return err
	}
	return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &f)
}

// setLockWait tries until it has the lock or ctx ends.
func (s *session) setLockWait(ctx context.Context, req *wire.Request) error {
	pause := lockPauseShort
	for {
		err := s.setLock(req)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return err
		}
		select {
		case <-ctx.Done():
			return unix.EINTR
		case <-time.After(pause):
			pause = min(2*pause, lockPauseLong)
		}
	}
}
