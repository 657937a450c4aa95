// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/policy"
	"github.com/container-offload/offload/udsbridge/bridge/wire"
)

const (
	// lookInterval is how often sockets are looked at without a sign of change: a
	// program that closes its socket without removing the file gives none.
	lookInterval = time.Second
	// settle is how long changes are gathered before they are looked at.
	settle = 2 * time.Millisecond
	// maxDepth bounds how deep below a prefix sockets are looked for.
	maxDepth = 16
)

// watcher finds the sockets below prefixes, and notices changes.
type watcher struct {
	inotify *os.File
	signs   chan struct{}
	kinds   map[fileID]wire.SocketKind
	timer   *time.Timer
}

// fileID tells one socket from another at the same path.
type fileID struct {
	dev, ino     uint64
	changedSec   int64
	changedNanos int64
}

func newWatcher() (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch directories: %w", err)
	}
	w := &watcher{
		inotify: os.NewFile(uintptr(fd), "inotify"), signs: make(chan struct{}, 1),
		kinds: make(map[fileID]wire.SocketKind), timer: time.NewTimer(lookInterval),
	}
	go w.read()
	return w, nil
}

// read turns events into signs. What they say in detail is of no interest.
func (w *watcher) read() {
	buf := make([]byte, 4<<10)
	for {
		if _, err := w.inotify.Read(buf); err != nil {
			return
		}
		select {
		case w.signs <- struct{}{}:
		default:
		}
		time.Sleep(settle)
	}
}

func (w *watcher) close() {
	w.inotify.Close()
	w.timer.Stop()
}

// look lists the sockets below a prefix that the rules allow.
func (w *watcher) look(rules []policy.Serve, prefix string) wire.Sockets {
	if len(w.kinds) > 2*wire.MaxSockets {
		clear(w.kinds) // most are of sockets that have gone
	}
	s := wire.Sockets{Prefix: prefix}
	roots := servedBelow(rules, prefix)
	if len(roots) == 0 {
		s.Problem = "nothing at or below " + prefix + " is served"
		return s
	}
	for _, root := range roots {
		base, _ := policy.Below(root, prefix)
		if err := w.collect(root, base, &s.List); err != nil {
			s.Problem = err.Error()
		}
	}
	slices.SortFunc(s.List, func(a, b wire.Socket) int { return strings.Compare(a.Name, b.Name) })
	return s
}

var errTooMany = fmt.Errorf("more than %d sockets; the rest can't be reached", wire.MaxSockets)

// collect appends the sockets at or below root, named from base.
func (w *watcher) collect(root, base string, list *[]wire.Socket) error {
	if strings.HasPrefix(root, "@") {
		if k, ok := abstractSocket(root); ok {
			*list = append(*list, wire.Socket{Name: base, Kind: k, Live: true, Mode: 0o777})
		}
		return nil
	}
	info, err := os.Stat(root) // links in the rule's own path are the administrator's
	if err != nil {
		w.watchNearest(filepath.Dir(root))
		return nil //nolint:nilerr // what isn't there now may come
	}
	if info.Mode().Type() == fs.ModeSocket {
		w.watchNearest(filepath.Dir(root))
		return w.add(root, base, list)
	}
	return w.walk(root, base, 0, list)
}

// watchNearest watches a directory, or the nearest one above it that is there.
func (w *watcher) watchNearest(dir string) {
	for !w.watch(dir) && dir != "/" {
		dir = filepath.Dir(dir)
	}
}

func (w *watcher) watch(dir string) bool {
	const mask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVE | unix.IN_ATTRIB | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	raw, err := w.inotify.SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	_ = raw.Control(func(fd uintptr) {
		_, err := unix.InotifyAddWatch(int(fd), dir, mask)
		ok = err == nil
	})
	return ok
}

func (w *watcher) walk(dir, base string, depth int, list *[]wire.Socket) error {
	if depth > maxDepth {
		return nil
	}
	w.watch(dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("look for sockets: %w", err)
	}
	for _, e := range entries {
		path, name := filepath.Join(dir, e.Name()), filepath.Join(base, e.Name())
		switch {
		case len(name) > 107:
		case e.IsDir():
			err = w.walk(path, name, depth+1, list)
		case e.Type() == fs.ModeSocket:
			err = w.add(path, name, list)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// add appends one socket.
func (w *watcher) add(path, name string, list *[]wire.Socket) error {
	if len(*list) >= wire.MaxSockets {
		return errTooMany
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil //nolint:nilerr // it has gone meanwhile
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK || isMirror(path) {
		return nil //nolint:nilerr // it has become something else meanwhile
	}
	s := wire.Socket{Name: name, Mode: st.Mode & 0o777, UID: st.Uid, GID: st.Gid}
	s.Live = alive(fd)
	if s.Live {
		id := fileID{uint64(st.Dev), st.Ino, st.Ctim.Sec, st.Ctim.Nsec} //nolint:unconvert // the type differs by architecture
		if s.Kind = w.kinds[id]; s.Kind == 0 {
			s.Kind = kindOf(fd, path)
			w.kinds[id] = s.Kind
		}
	}
	*list = append(*list, s)
	return nil
}

// alive reports whether a program has the socket open that fd, an O_PATH one,
// names. It asks with a datagram socket, of which a listening program sees nothing.
func alive(fd int) bool {
	err := tryConnect(fd, unix.SOCK_DGRAM)
	return !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ENOENT)
}

func tryConnect(fd, socketType int) error {
	s, err := unix.Socket(unix.AF_UNIX, socketType|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	return unix.Connect(s, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d", fd)})
}

// kindOf returns the type of a socket that is alive.
func kindOf(fd int, path string) wire.SocketKind {
	if err := tryConnect(fd, unix.SOCK_DGRAM); !errors.Is(err, unix.EPROTOTYPE) {
		return wire.Datagram
	}
	if k, _ := listedSocket(path); k != 0 {
		return k
	}
	// It lives in another network namespace, so only a connection can tell. A
	// program with a SEQPACKET socket sees one that ends at once.
	if err := tryConnect(fd, unix.SOCK_SEQPACKET); !errors.Is(err, unix.EPROTOTYPE) {
		return wire.SeqPacket
	}
	return wire.Stream
}

// socketKinds are the types of sockets as /proc/net/unix writes them.
var socketKinds = map[string]wire.SocketKind{"0001": wire.Stream, "0002": wire.Datagram, "0005": wire.SeqPacket}

// abstractSocket returns the type of an abstract socket of this network namespace,
// if a program waits there.
func abstractSocket(name string) (wire.SocketKind, bool) { return listedSocket(name) }

// listedSocket looks a name up in /proc/net/unix. It returns the type of the socket,
// 0 if there is none, and whether a program awaits connections or datagrams there.
func listedSocket(name string) (k wire.SocketKind, awaits bool) {
	b, err := os.ReadFile("/proc/self/net/unix")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		// Num RefCount Protocol Flags Type St Inode Path
		f := strings.Fields(line)
		if len(f) < 8 || strings.Join(f[7:], " ") != name {
			continue
		}
		k = socketKinds[f[4]]
		awaits = awaits || k == wire.Datagram || f[3] == "00010000"
	}
	return k, awaits
}
