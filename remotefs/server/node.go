// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
)

// nodeKey says which file a node is. The mount counts too: the same directory
// on two mounts has different things mounted below.
type nodeKey struct {
	exp   *export
	mount uint64
	dev   uint64
	ino   uint64
}

// node is a file that the client has looked up. All but fd, exp, key and mode
// is protected by the session's mutex.
type node struct {
	id   uint64
	exp  *export // nil: the directory of all exports
	fd   int     // O_PATH
	key  nodeKey
	mode uint32 // the type

	refs uint64 // look-ups that were not forgotten
	uses int    // requests that work on it
	dead bool   // the export is gone, or all is forgotten
}

const statMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME | unix.STATX_MNT_ID

func statFD(fd int) (unix.Statx_t, error) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT, statMask, &st)
	return st, err
}

func keyOf(st *unix.Statx_t) nodeKey {
	return nodeKey{mount: st.Mnt_id, dev: uint64(st.Dev_major)<<32 | uint64(st.Dev_minor), ino: st.Ino}
}

// procPath is a path to exactly the file that fd is.
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// inode gives the inode number that the client sees. On the export's own file
// system it is the real one. Files of other file systems get numbers of 64
// mixed bits: different for all files of one file system, and the same by
// chance only for files of two.
func (n *node) inode(root bool, dev, ino uint64) uint64 {
	if root && n.exp != nil && dev == n.exp.key.dev {
		return ino
	}
	return mix(mix(dev) + ino)
}

// mix is a permutation of the 64-bit numbers (the end of splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (s *session) attr(n *node, st *unix.Statx_t) wire.Attr {
	return wire.Attr{
		Ino:  n.inode(s.single, uint64(st.Dev_major)<<32|uint64(st.Dev_minor), st.Ino),
		Size: st.Size, Blocks: st.Blocks,
		Atime: wireTime(st.Atime), Mtime: wireTime(st.Mtime), Ctime: wireTime(st.Ctime), Btime: wireTime(st.Btime),
		Mode: uint32(st.Mode), Nlink: st.Nlink, UID: st.Uid, GID: st.Gid,
		Major: st.Rdev_major, Minor: st.Rdev_minor, Blksize: st.Blksize,
	}
}

func wireTime(t unix.StatxTimestamp) wire.Time { return wire.Time{Sec: t.Sec, Nsec: t.Nsec} }

// get finds the client's node for a request to work on.
func (s *session) get(id uint64) (*node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[id]
	if n == nil || n.dead {
		return nil, unix.ESTALE
	}
	n.uses++
	return n, nil
}

// put ends what get began.
func (s *session) put(n *node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n.uses--
	n.closeIfUnused()
}

func (n *node) closeIfUnused() {
	if n.dead && n.uses == 0 && n.fd >= 0 {
		unix.Close(n.fd)
		n.fd = -1
	}
}

// enter makes fd, which it takes over, a node of the export, or finds the one
// that the file is already. The node counts one reference more.
func (s *session) enter(x *export, fd int) (wire.Entry, error) {
	st, err := statFD(fd)
	if err != nil {
		unix.Close(fd)
		return wire.Entry{}, err
	}
	key := keyOf(&st)
	key.exp = x
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.byKey[key]
	switch {
	case x.removed.Load() || s.closed:
		unix.Close(fd)
		return wire.Entry{}, unix.ESTALE
	case n != nil:
		unix.Close(fd)
	case len(s.nodes) >= s.srv.opts.MaxNodes:
		unix.Close(fd)
		return wire.Entry{}, unix.ENFILE
	default:
		s.lastNode++
		n = &node{id: s.lastNode, exp: x, fd: fd, key: key, mode: uint32(st.Mode) & unix.S_IFMT}
		s.nodes[n.id] = n
		s.byKey[key] = n
	}
	n.refs++
	return wire.Entry{Node: n.id, Attr: s.attr(n, &st)}, nil
}

// forget takes back references.
func (s *session) forget(id, count uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[id]
	if n == nil || n.id == rootNode {
		return
	}
	n.refs -= min(count, n.refs)
	if n.refs == 0 {
		s.removeLocked(n)
		delete(s.nodes, id)
	}
}

// removeLocked makes a node unreachable and closes it when nobody uses it.
func (s *session) removeLocked(n *node) {
	n.dead = true
	if s.byKey[n.key] == n {
		delete(s.byKey, n.key)
	}
	n.closeIfUnused()
}

// drop makes all of an export stale. The nodes stay known until the client
// forgets them, without a descriptor.
func (s *session) drop(x *export) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.nodes {
		if n.exp == x && !n.dead {
			s.removeLocked(n)
		}
	}
	for _, h := range s.handles {
		if h.exp == x && !h.dead {
			h.dead = true
			h.closeIfUnused()
		}
	}
	for k, l := range s.locks {
		if l.exp == x {
			unix.Close(l.fd)
			delete(s.locks, k)
		}
	}
}
