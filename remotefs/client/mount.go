// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
)

// FSType is the type that a mount has in mountinfo.
const FSType = "fuse.remotefs"

// Cache says what the client's kernel may keep of files.
type Cache int

const (
	// CacheAuto keeps a file's pages from one open to the next unless the
	// file was changed meanwhile: whoever opens a file sees what was written
	// by those who have closed it.
	CacheAuto Cache = iota
	// CacheNone keeps no pages: each read and write goes to the server.
	CacheNone
	// CacheAlways takes files to change on this mount only. Writes are
	// gathered in the kernel until close or fsync.
	CacheAlways
)

// Options are a mount's.
type Options struct {
	// Source is shown as the mount's source, such as
	// "host:/run/offload/tree". "" shows as "remotefs".
	Source string
	// Export is the name of the export to mount, or an absolute path of the
	// server's machine that lies in one. "" mounts a read-only directory that
	// lists all exports of the server, as they come and go.
	Export string
	// ReadOnly mounts read-only; NoSuid, NoDev, NoExec and NoAtime are those of
	// mount(8).
	ReadOnly, NoSuid, NoDev, NoExec, NoAtime bool
	// Small keeps the memory of an idle mount low at the cost of throughput,
	// for a mount with a handful of files.
	Small bool
	// AttrTimeout, EntryTimeout and NegativeTimeout are how long the kernel
	// believes attributes, names, and the absence of names without asking. 0
	// means 1 s, and no belief in absence; a negative value means never.
	AttrTimeout, EntryTimeout, NegativeTimeout time.Duration
	// Cache says what the kernel may keep of the files' content.
	Cache Cache
	// Soft, if not 0, is how long an operation waits for the server before it
	// fails with EIO; whether it is done is not known then. Waiting for a lock is
	// not bounded. 0 waits as long as the connection lasts.
	Soft time.Duration
	// Directories is on how many levels below the root, up to 15, there are directories and
	// nothing else: 1 means that all in the root is a directory. What the server
	// shows there as anything else fails with EIO, so that nobody who goes to one
	// of these directories is led elsewhere by a symbolic link.
	Directories int
	// Logger gets what goes wrong. nil discards it.
	Logger *slog.Logger
}

// Stats are a mount's counters since it was mounted.
type Stats struct {
	// Requests were sent to the server, Errors of them failed.
	Requests, Errors uint64
	// Sent and Received are bytes on the connection.
	Sent, Received uint64
	// ReadBytes and WrittenBytes are bytes of files.
	ReadBytes, WrittenBytes uint64
	// Nodes are the files the kernel knows now; Handles those open now.
	Nodes, Handles int
	// InFlight are the requests that have no reply yet.
	InFlight int
}

// FS is a mounted file system. Its methods may be called concurrently.
type FS struct {
	mountpoint string
	dev        uint64
	conn       *conn
	files      *files
	ballast    []byte        // see ballast
	served     chan struct{} // closed when the kernel asks nothing any more

	unmount sync.Mutex
	gone    bool // unmounted, protected by unmount
}

// Mount mounts a server's export on the directory (or, if the export is a
// file, on the file) mountpoint. It opens the connection with open, which gets
// ctx. A mount there whose process has died is taken away first. It needs root
// and /dev/fuse.
//
// When the connection ends, every operation on the mount fails with EIO, and
// Done is closed.
func Mount(ctx context.Context, open func(context.Context) (net.Conn, error), mountpoint string, opts Options) (*FS, error) {
	m, err := mount(ctx, open, mountpoint, opts)
	if err != nil {
		return nil, fmt.Errorf("mount export %q on %s: %w", opts.Export, mountpoint, err)
	}
	return m, nil
}

func mount(ctx context.Context, open func(context.Context) (net.Conn, error), mountpoint string, opts Options) (*FS, error) {
	if err := detachStale(mountpoint); err != nil {
		return nil, err
	}
	nc, err := open(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the server: %w", err)
	}
	c := newConn(nc)
	c.soft, c.levels = opts.Soft, levels(min(max(opts.Directories, 0), maxLevels))
	root, err := c.hello(ctx, opts.Export)
	if err != nil {
		c.fail(err)
		return nil, err
	}
	m := &FS{ballast: ballast(opts), mountpoint: mountpoint, conn: c, files: newFiles(c, opts), served: make(chan struct{})}
	if err := m.attach(&root.Attr, opts); err != nil {
		c.fail(err)
		return nil, err
	}
	return m, nil
}

// ballast is memory that is never touched, so that it is none. It makes the
// garbage collector run less often: each run throws away go-fuse's buffers, of
// 1 MiB each, and new ones have to be cleared.
func ballast(opts Options) []byte {
	if opts.Small {
		return nil
	}
	return make([]byte, 32<<20)
}

// attach mounts, and starts to answer the kernel.
func (m *FS) attach(root *wire.Attr, opts Options) error {
	m.files.mounting.Store(root)
	defer m.files.mounting.Store(nil)
	dev, err := mountKernel(m.mountpoint, root.Mode, opts)
	if err != nil {
		return err
	}
	kernel, err := fuse.NewServer(m.files, fmt.Sprintf("/dev/fd/%d", dev), kernelOptions(opts))
	if err != nil {
		return errors.Join(fmt.Errorf("start FUSE: %w", err), unix.Unmount(m.mountpoint, unix.MNT_DETACH), unix.Close(dev))
	}
	go m.conn.run()
	go func() {
		kernel.Serve()
		close(m.served)
	}()
	var st unix.Stat_t
	if err := unix.Stat(m.mountpoint, &st); err == nil {
		m.dev = st.Dev
	}
	quietPoll(m.mountpoint, root.Mode&unix.S_IFMT == unix.S_IFDIR)
	return nil
}

func kernelOptions(opts Options) *fuse.MountOptions {
	o := &fuse.MountOptions{
		Name:          "remotefs",
		MaxWrite:      maxIO(opts),
		MaxReadAhead:  maxIO(opts),
		MaxBackground: 64,
		EnableLocks:   true,
		EnableAcl:     true,
		DisableSplice: true,
		ExtraCapabilities: fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_DONT_MASK | fuse.CAP_HANDLE_KILLPRIV_V2 |
			fuse.CAP_READDIRPLUS_AUTO | fuse.CAP_ASYNC_DIO | fuse.CAP_SETXATTR_EXT | fuse.CAP_DIRECT_IO_ALLOW_MMAP,
		Logger: log.New(logWriter{opts.Logger}, "", 0),
	}
	if opts.Cache == CacheAlways {
		o.ExtraCapabilities |= fuse.CAP_WRITEBACK_CACHE
	}
	if opts.Small {
		o.MaxBackground = 12
	}
	return o
}

// maxIO bounds what one request reads or writes, in bytes. Every reader of the
// kernel's requests has a buffer of that size.
func maxIO(opts Options) int {
	if opts.Small {
		return 128 << 10
	}
	return wire.MaxData
}

// logWriter gives go-fuse's messages to the mount's logger.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(p []byte) (int, error) {
	if w.log != nil {
		w.log.Debug("fuse", "message", strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// mountKernel mounts and returns the descriptor that the kernel's requests come
// from.
func mountKernel(mountpoint string, mode uint32, opts Options) (int, error) {
	var st unix.Stat_t
	if err := unix.Stat(mountpoint, &st); err != nil {
		return -1, &os.PathError{Op: "stat", Path: mountpoint, Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR != (mode&unix.S_IFMT == unix.S_IFDIR) {
		return -1, fmt.Errorf("one of the export and the mount point is a directory, the other is not: %w", unix.ENOTDIR)
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/dev/fuse", Err: err}
	}
	data := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0,allow_other,default_permissions,max_read=%d", fd, mode&unix.S_IFMT, maxIO(opts))
	source := opts.Source
	if source == "" {
		source = "remotefs"
	}
	if err := unix.Mount(source, mountpoint, FSType, mountFlags(opts), data); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("mount FUSE: %w", err)
	}
	return fd, nil
}

func mountFlags(opts Options) (flags uintptr) {
	for _, f := range [...]struct {
		set  bool
		flag uintptr
	}{
		{opts.ReadOnly, unix.MS_RDONLY},
		{opts.NoSuid, unix.MS_NOSUID},
		{opts.NoDev, unix.MS_NODEV},
		{opts.NoExec, unix.MS_NOEXEC},
		{opts.NoAtime, unix.MS_NOATIME},
	} {
		if f.set {
			flags |= f.flag
		}
	}
	return flags
}

// pollName is a file that go-fuse shows to whoever knows its name.
const pollName = ".go-fuse-epoll-hack"

// quietPoll makes the kernel learn that the mount has no poll. Else the Go
// runtime of this process may ask, for a file it opens here, in a way that keeps
// the answer from ever being given.
func quietPoll(mountpoint string, dir bool) {
	if dir {
		mountpoint = filepath.Join(mountpoint, pollName)
	}
	fd, err := unix.Open(mountpoint, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
}

// detachStale takes away mounts whose process has died.
func detachStale(mountpoint string) error {
	for range 16 {
		var st unix.Statx_t
		err := unix.Statx(unix.AT_FDCWD, mountpoint, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_FORCE_SYNC, unix.STATX_BASIC_STATS, &st)
		if err != unix.ENOTCONN && err != unix.ECONNABORTED {
			return nil
		}
		if err := unix.Unmount(mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("take away the dead mount: %w", err)
		}
	}
	return unix.EBUSY
}

// The pause between two attempts to unmount what is in use.
const (
	unmountPauseShort = 5 * time.Millisecond
	unmountPauseLong  = 200 * time.Millisecond
)

// servedTimeout bounds how long Unmount waits for the kernel's last request.
const servedTimeout = time.Second

// Unmount unmounts the file system and ends its connection. While files on it
// are in use it tries again until ctx ends; then it detaches the mount from the
// tree, so that the files left in use fail with EIO.
func (m *FS) Unmount(ctx context.Context) error {
	m.unmount.Lock()
	defer m.unmount.Unlock()
	if m.gone {
		return nil
	}
	err := m.detach(ctx)
	m.conn.fail(errClosed)
	m.abort()
	if err != nil {
		return fmt.Errorf("unmount %s: %w", m.mountpoint, err)
	}
	m.gone = true
	// Files still in use after a detach keep the kernel's side alive until
	// they are closed; they fail already.
	select {
	case <-m.served:
	case <-time.After(servedTimeout):
	}
	return nil
}

func (m *FS) detach(ctx context.Context) error {
	pause := unmountPauseShort
	for {
		if m.Unmounted() {
			return nil // by somebody else
		}
		select {
		case <-m.served:
			// Somebody else unmounted it, and may have mounted something.
			return nil
		default:
		}
		flags := unix.UMOUNT_NOFOLLOW
		if ctx.Err() != nil {
			flags |= unix.MNT_DETACH
		}
		err := unix.Unmount(m.mountpoint, flags)
		if err != unix.EBUSY {
			return err
		}
		select {
		case <-ctx.Done():
		case <-m.served:
		case <-time.After(pause):
			pause = min(2*pause, unmountPauseLong)
		}
	}
}

// abort makes the kernel fail whatever it still waits for. The connection is
// known by the device number of the mount.
func (m *FS) abort() {
	select {
	case <-m.served:
		return
	case <-time.After(unmountPauseLong):
	}
	if m.dev == 0 {
		return
	}
	_ = os.WriteFile(fmt.Sprintf("/sys/fs/fuse/connections/%d/abort", unix.Minor(m.dev)), []byte("1"), 0)
}

// Done is closed when the mount is of no more use: when it was unmounted, by
// whomever, or its connection has ended. Unmount is still needed then.
func (m *FS) Done() <-chan struct{} { return m.conn.ended }

// Unmounted tells whether it is not on its mount point any more, because somebody
// has unmounted it there. It asks nobody but the kernel.
func (m *FS) Unmounted() bool {
	if m.dev == 0 {
		return false
	}
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, m.mountpoint, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st)
	switch err {
	case nil:
		return unix.Mkdev(st.Dev_major, st.Dev_minor) != m.dev
	case unix.ENOENT, unix.ENOTDIR:
		return true
	}
	return false
}

// Err says why Done was closed: nil after an unmount.
func (m *FS) Err() error { return m.conn.reason() }

// Stats returns the counters.
func (m *FS) Stats() Stats {
	return Stats{
		Requests: m.conn.requests.Load(), Errors: m.conn.errors.Load(),
		Sent: m.conn.out.Sent(), Received: m.conn.in.Received(),
		ReadBytes: m.conn.read.Load(), WrittenBytes: m.conn.written.Load(),
		Nodes: int(m.files.nodes.Load()), Handles: int(m.files.handles.Load()),
		InFlight: m.conn.inFlight(),
	}
}
