// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package remotefs_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/client"
	"github.com/container-offload/offload/remotefs/framing"
	"github.com/container-offload/offload/remotefs/server"
	"github.com/container-offload/offload/remotefs/wire"
)

// rawClient speaks the protocol without a kernel, to ask what no kernel would.
type rawClient struct {
	t    *testing.T
	conn net.Conn
	in   *framing.Receiver
	id   uint32
	root wire.Entry
}

func dialRaw(t *testing.T, open func(context.Context) (net.Conn, error), export string) *rawClient {
	t.Helper()
	conn, err := open(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	c := &rawClient{t: t, conn: conn, in: framing.NewReceiver(conn)}
	rep, errno := c.ask(&wire.Request{Op: wire.OpHello, Magic: wire.Magic, Version: wire.Version, Name: export})
	require.Zero(t, errno)
	c.root = rep.Entry
	return c
}

func (c *rawClient) send(req *wire.Request) {
	body := req.AppendBody(nil)
	c.id++
	h := wire.Header{Kind: wire.KindRequest, Op: req.Op, ID: c.id, Body: len(body), Data: len(req.Data)}
	_, err := c.conn.Write(append(append(h.Append(nil), body...), req.Data...))
	require.NoError(c.t, err)
}

func (c *rawClient) ask(req *wire.Request) (wire.Reply, unix.Errno) {
	c.t.Helper()
	c.send(req)
	h, body, err := c.in.Next()
	require.NoError(c.t, err)
	require.Equal(c.t, c.id, h.ID)
	if h.Errno != 0 {
		return wire.Reply{}, h.Errno.Local()
	}
	var rep wire.Reply
	require.NoError(c.t, rep.ParseBody(h.Op, body))
	rep.Data = make([]byte, h.Data)
	require.NoError(c.t, c.in.Data(rep.Data))
	return rep, 0
}

func (c *rawClient) lookup(node uint64, name string) (wire.Entry, unix.Errno) {
	c.t.Helper()
	rep, errno := c.ask(&wire.Request{Op: wire.OpLookup, Node: node, Name: name})
	return rep.Entry, errno
}

// escape has an export with a secret beside it, and another export.
func escape(t *testing.T) (s *server.Server, open func(context.Context) (net.Conn, error), export string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("serving needs root")
	}
	dir := t.TempDir()
	export = filepath.Join(dir, "export")
	require.NoError(t, os.Mkdir(export, 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "other"), 0o755))
	write(t, filepath.Join(dir, "secret"), "secret")
	write(t, filepath.Join(export, "f"), "f")
	require.NoError(t, os.Symlink("../secret", filepath.Join(export, "link")))
	require.NoError(t, os.Symlink("..", filepath.Join(export, "up")))
	s = server.New(server.Options{})
	require.NoError(t, s.Add(server.Export{Name: "x", Path: export, CrossMounts: true}))
	require.NoError(t, s.Add(server.Export{Name: "other", Path: filepath.Join(dir, "other")}))
	require.NoError(t, s.Add(server.Export{Name: "proc", Path: "/proc", CrossMounts: true}))
	return s, serve(t, s), export
}

func TestNamesCannotEscape(t *testing.T) {
	_, open, _ := escape(t)
	c := dialRaw(t, open, "x")
	for _, name := range []string{"..", ".", "", "/", "../secret", "/etc/passwd", "f/..", "up/secret", "a\x00b", strings.Repeat("n", 254) + "/"} {
		_, errno := c.lookup(c.root.Node, name)
		assert.NotZero(t, errno, "lookup of %q", name)
		for _, op := range []wire.Op{wire.OpMkdir, wire.OpCreate, wire.OpSymlink, wire.OpUnlink, wire.OpRmdir} {
			_, errno = c.ask(&wire.Request{Op: op, Node: c.root.Node, Name: name, Target: "x", Mode: 0o755})
			assert.Contains(t, []unix.Errno{unix.EINVAL, unix.ENAMETOOLONG}, errno, "%s of %q", op, name)
		}
		_, errno = c.ask(&wire.Request{Op: wire.OpMknod, Node: c.root.Node, Name: name, Mode: unix.S_IFIFO | 0o600})
		assert.NotZero(t, errno)
		f, errno := c.lookup(c.root.Node, "f")
		require.Zero(t, errno)
		_, errno = c.ask(&wire.Request{Op: wire.OpLink, Node: c.root.Node, Name: name, Node2: f.Node})
		assert.NotZero(t, errno)
		_, errno = c.ask(&wire.Request{Op: wire.OpRename, Node: c.root.Node, Name: "f", Node2: c.root.Node, Name2: name})
		assert.NotZero(t, errno)
		_, errno = c.ask(&wire.Request{Op: wire.OpRename, Node: c.root.Node, Name: name, Node2: c.root.Node, Name2: "g"})
		assert.NotZero(t, errno)
	}
}

func TestLinksCannotEscape(t *testing.T) {
	_, open, export := escape(t)
	c := dialRaw(t, open, "x")
	for _, name := range []string{"link", "up"} {
		link, errno := c.lookup(c.root.Node, name)
		require.Zero(t, errno)
		require.EqualValues(t, unix.S_IFLNK, link.Attr.Mode&unix.S_IFMT)
		_, errno = c.ask(&wire.Request{Op: wire.OpOpen, Node: link.Node})
		require.Equal(t, unix.ELOOP, errno)
		_, errno = c.ask(&wire.Request{Op: wire.OpOpenDir, Node: link.Node})
		require.Equal(t, unix.ENOTDIR, errno)
		_, errno = c.lookup(link.Node, "secret")
		require.Equal(t, unix.ENOTDIR, errno)
		_, errno = c.ask(&wire.Request{Op: wire.OpCreate, Node: c.root.Node, Name: name, Flags: wire.OpenBoth, Mode: 0o644})
		require.NotZero(t, errno)
		_, errno = c.ask(&wire.Request{Op: wire.OpSetAttr, Node: link.Node, Set: wire.SetAttr{Valid: wire.SetSize}})
		require.Equal(t, unix.EINVAL, errno)
		_, errno = c.ask(&wire.Request{Op: wire.OpSetAttr, Node: link.Node, Set: wire.SetAttr{Valid: wire.SetMode, Mode: 0o777}})
		require.Equal(t, unix.EOPNOTSUPP, errno)
	}
	// Ownership of the link is the link's.
	link, _ := c.lookup(c.root.Node, "link")
	_, errno := c.ask(&wire.Request{Op: wire.OpSetAttr, Node: link.Node, Set: wire.SetAttr{Valid: wire.SetUID, UID: 77}})
	require.Zero(t, errno)
	require.EqualValues(t, 77, stat(t, filepath.Join(export, "link")).Uid)
	require.EqualValues(t, 0, stat(t, filepath.Join(export, "../secret")).Uid)
	require.Equal(t, "secret", read(t, filepath.Join(export, "../secret")))
}

func TestMagicLinksCannotEscape(t *testing.T) {
	_, open, _ := escape(t)
	c := dialRaw(t, open, "proc")
	self, errno := c.lookup(c.root.Node, fmt.Sprint(os.Getpid()))
	require.Zero(t, errno)
	for _, name := range []string{"root", "cwd", "exe"} {
		link, errno := c.lookup(self.Node, name)
		require.Zero(t, errno, name)
		require.EqualValues(t, unix.S_IFLNK, link.Attr.Mode&unix.S_IFMT)
		_, errno = c.lookup(link.Node, "etc")
		require.Equal(t, unix.ENOTDIR, errno)
		_, errno = c.ask(&wire.Request{Op: wire.OpOpen, Node: link.Node})
		require.Equal(t, unix.ELOOP, errno)
	}
}

func TestNodesAndHandlesOfOthers(t *testing.T) {
	_, open, export := escape(t)
	a, b := dialRaw(t, open, ""), dialRaw(t, open, "x")
	x, errno := a.lookup(1, "x")
	require.Zero(t, errno)
	f, errno := a.lookup(x.Node, "f")
	require.Zero(t, errno)
	opened, errno := a.ask(&wire.Request{Op: wire.OpOpen, Node: f.Node})
	require.Zero(t, errno)
	// Another client's numbers mean nothing.
	_, errno = b.ask(&wire.Request{Op: wire.OpGetAttr, Node: f.Node})
	require.Equal(t, unix.ESTALE, errno)
	_, errno = b.ask(&wire.Request{Op: wire.OpRead, Handle: opened.Handle, Size: 10})
	require.Equal(t, unix.EBADF, errno)
	// Nor do guessed ones.
	for range 1000 {
		_, errno = b.ask(&wire.Request{Op: wire.OpGetAttr, Node: rand.Uint64() | 1<<40})
		require.Equal(t, unix.ESTALE, errno)
	}
	// A number that was given back stays dead.
	a.send(&wire.Request{Op: wire.OpRelease, Handle: opened.Handle})
	_, errno = a.ask(&wire.Request{Op: wire.OpRead, Handle: opened.Handle, Size: 10})
	require.Equal(t, unix.EBADF, errno)
	a.send(&wire.Request{Op: wire.OpForget, Data: wire.Forget{Node: f.Node, Count: 1 << 60}.Append(nil)})
	_, errno = a.ask(&wire.Request{Op: wire.OpGetAttr, Node: f.Node})
	require.Equal(t, unix.ESTALE, errno)
	f2, errno := a.lookup(x.Node, "f")
	require.Zero(t, errno)
	require.NotEqual(t, f.Node, f2.Node)
	// Neither names nor files pass from one export to another.
	other, errno := a.lookup(1, "other")
	require.Zero(t, errno)
	_, errno = a.ask(&wire.Request{Op: wire.OpLink, Node: other.Node, Name: "l", Node2: f2.Node})
	require.Equal(t, unix.EXDEV, errno)
	_, errno = a.ask(&wire.Request{Op: wire.OpRename, Node: x.Node, Name: "f", Node2: other.Node, Name2: "f"})
	require.Equal(t, unix.EXDEV, errno)
	require.FileExists(t, filepath.Join(export, "f"))
}

// TestRaces exchanges a directory and a symbolic link to the outside while a
// client goes through it.
func TestRaces(t *testing.T) {
	_, open, export := escape(t)
	dir, link := filepath.Join(export, "d"), filepath.Join(export, "d2")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.Symlink("..", link))
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	c := dialRaw(t, open, "x")
	dirs, links := 0, 0
	for range 3000 {
		e, errno := c.lookup(c.root.Node, "d")
		if errno != 0 {
			continue
		}
		if e.Attr.Mode&unix.S_IFMT == unix.S_IFLNK {
			links++
		} else {
			dirs++
		}
		_, errno = c.lookup(e.Node, "secret")
		require.NotZero(t, errno)
		_, errno = c.ask(&wire.Request{Op: wire.OpCreate, Node: e.Node, Name: "made", Flags: wire.OpenBoth, Mode: 0o644})
		require.Contains(t, []unix.Errno{0, unix.ENOTDIR}, errno)
	}
	require.NoFileExists(t, filepath.Join(export, "../made"))
	t.Logf("%d directories, %d links", dirs, links)
}

// TestOnlyRegularFilesOpen checks that no client makes the server open a device
// or wait for a FIFO.
func TestOnlyRegularFilesOpen(t *testing.T) {
	_, open, export := escape(t)
	require.NoError(t, unix.Mkfifo(filepath.Join(export, "fifo"), 0o600))
	require.NoError(t, unix.Mknod(filepath.Join(export, "null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	l, err := net.Listen("unix", filepath.Join(export, "sock"))
	require.NoError(t, err)
	defer l.Close()
	c := dialRaw(t, open, "x")
	for _, name := range []string{"fifo", "null", "sock"} {
		e, errno := c.lookup(c.root.Node, name)
		require.Zero(t, errno)
		_, errno = c.ask(&wire.Request{Op: wire.OpOpen, Node: e.Node, Flags: wire.OpenBoth})
		require.Equal(t, unix.ENXIO, errno, name)
		_, errno = c.ask(&wire.Request{Op: wire.OpCreate, Node: c.root.Node, Name: name, Flags: wire.OpenBoth, Mode: 0o600})
		require.Equal(t, unix.ENXIO, errno, name)
		_, errno = c.ask(&wire.Request{Op: wire.OpSetAttr, Node: e.Node, Set: wire.SetAttr{Valid: wire.SetSize}})
		require.Equal(t, unix.EINVAL, errno, name)
	}
}

func TestLimits(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("serving needs root")
	}
	dir := t.TempDir()
	for i := range 30 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), "")
	}
	s := server.New(server.Options{MaxHandles: 10, MaxNodes: 20})
	require.NoError(t, s.Add(server.Export{Name: "x", Path: dir}))
	c := dialRaw(t, serve(t, s), "x")
	var last wire.Entry
	for i := range 30 {
		e, errno := c.lookup(c.root.Node, fmt.Sprint(i))
		if i < 19 {
			require.Zero(t, errno)
			last = e
		} else {
			require.Equal(t, unix.ENFILE, errno)
		}
	}
	for i := range 20 {
		_, errno := c.ask(&wire.Request{Op: wire.OpOpen, Node: last.Node})
		if i < 10 {
			require.Zero(t, errno)
		} else {
			require.Equal(t, unix.ENFILE, errno)
		}
	}
}

// TestRemoveExport checks that what a client holds of an export is stale after
// it ended, and that the server has let go of it.
func TestRemoveExport(t *testing.T) {
	s, open, export := escape(t)
	c := dialRaw(t, open, "")
	x, errno := c.lookup(1, "x")
	require.Zero(t, errno)
	f, errno := c.lookup(x.Node, "f")
	require.Zero(t, errno)
	opened, errno := c.ask(&wire.Request{Op: wire.OpOpen, Node: f.Node})
	require.Zero(t, errno)
	_, errno = c.ask(&wire.Request{Op: wire.OpSetLock, Handle: opened.Handle, Owner: 7, Lock: wire.Lock{End: 10}})
	require.Zero(t, errno)
	require.NotEmpty(t, descriptorsBelow(t, export))
	require.NoError(t, s.Remove("x"))
	require.Empty(t, descriptorsBelow(t, export))
	for _, req := range []*wire.Request{
		{Op: wire.OpGetAttr, Node: x.Node}, {Op: wire.OpLookup, Node: x.Node, Name: "f"},
		{Op: wire.OpRead, Handle: opened.Handle, Size: 1}, {Op: wire.OpOpen, Node: f.Node},
	} {
		_, errno := c.ask(req)
		require.Equal(t, unix.ESTALE, errno, req.Op.String())
	}
	_, errno = c.lookup(1, "x")
	require.Equal(t, unix.ENOENT, errno)
	// The same name again is another export.
	require.NoError(t, s.Add(server.Export{Name: "x", Path: filepath.Join(export, "f")}))
	x2, errno := c.lookup(1, "x")
	require.Zero(t, errno)
	require.NotEqual(t, x.Node, x2.Node)
	require.EqualValues(t, unix.S_IFREG, x2.Attr.Mode&unix.S_IFMT)
}

func descriptorsBelow(t testing.TB, dir string) []string {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	var found []string
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(target, dir) {
			found = append(found, target)
		}
	}
	return found
}

// TestClientDies checks that whatever a client had is given back, its locks too.
func TestClientDies(t *testing.T) {
	_, open, export := escape(t)
	c := dialRaw(t, open, "x")
	f, _ := c.lookup(c.root.Node, "f")
	opened, errno := c.ask(&wire.Request{Op: wire.OpOpen, Node: f.Node, Flags: wire.OpenBoth})
	require.Zero(t, errno)
	_, errno = c.ask(&wire.Request{Op: wire.OpSetLock, Handle: opened.Handle, Owner: 7, Lock: wire.Lock{End: 10, Type: wire.LockWrite}})
	require.Zero(t, errno)
	_, errno = c.ask(&wire.Request{Op: wire.OpSetLock, Handle: opened.Handle, Flags: wire.LockFlock, Lock: wire.Lock{Type: wire.LockWrite}})
	require.Zero(t, errno)
	// And one that waits for ever.
	c2 := dialRaw(t, open, "x")
	f2, _ := c2.lookup(c2.root.Node, "f")
	opened2, _ := c2.ask(&wire.Request{Op: wire.OpOpen, Node: f2.Node, Flags: wire.OpenBoth})
	c2.send(&wire.Request{Op: wire.OpSetLock, Handle: opened2.Handle, Owner: 7, Flags: wire.LockWait, Lock: wire.Lock{End: 10, Type: wire.LockWrite}})
	local, err := os.OpenFile(filepath.Join(export, "f"), os.O_RDWR, 0)
	require.NoError(t, err)
	defer local.Close()
	try := func() error {
		return unix.FcntlFlock(local.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	}
	require.ErrorIs(t, try(), unix.EAGAIN)
	c2.conn.Close()
	c.conn.Close()
	require.Eventually(t, func() bool { return try() == nil }, 10*time.Second, time.Millisecond)
	require.NoError(t, unix.Flock(int(local.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	require.Eventually(t, func() bool {
		below := descriptorsBelow(t, export)
		return len(below) == 2 // the export's root and local
	}, 10*time.Second, time.Millisecond)
}

// TestServerTakesAnyBytes sends a server what is no protocol, and what is nearly
// one.
func TestServerTakesAnyBytes(t *testing.T) {
	s, _, _ := escape(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		a, b := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- s.Serve(context.Background(), b) }()
		go func() { _, _ = io.Copy(io.Discard, a) }()
		if i%4 != 0 {
			hello := (&wire.Request{Op: wire.OpHello, Magic: wire.Magic, Version: wire.Version, Name: "x"}).AppendBody(nil)
			_, err := a.Write(append(wire.Header{Kind: wire.KindRequest, Op: wire.OpHello, Body: len(hello)}.Append(nil), hello...))
			require.NoError(t, err)
		}
		for range 20 {
			h := wire.Header{Kind: wire.Kind(1 + rng.IntN(3)), Op: wire.Op(1 + rng.IntN(36)), ID: rng.Uint32N(4), Body: rng.IntN(64), Data: rng.IntN(64)}
			frame := h.Append(nil)
			for range h.Body + h.Data {
				frame = append(frame, byte(rng.IntN(256)&rng.IntN(256)))
			}
			_ = a.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err := a.Write(frame); err != nil {
				break
			}
		}
		a.Close()
		select {
		case err := <-done:
			_ = err // any, or none
		case <-time.After(30 * time.Second):
			t.Fatal("server hangs")
		}
	}
}

// rawServer answers with what answer gives.
func rawServer(t *testing.T, answer func(h wire.Header) []byte) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		a, b := net.Pipe()
		t.Cleanup(func() { b.Close() })
		go func() {
			in := framing.NewReceiver(b)
			for {
				h, _, err := in.Next()
				if err != nil {
					return
				}
				reply := answer(h)
				if h.Op == wire.OpHello {
					reply = helloReply(h)
				}
				if len(reply) > 0 {
					if _, err := b.Write(reply); err != nil {
						return
					}
				}
			}
		}()
		return a, nil
	}
}

func helloReply(h wire.Header) []byte {
	rep := wire.Reply{Magic: wire.Magic, Version: wire.Version, Entry: wire.Entry{Node: 1, Attr: wire.Attr{Ino: 1, Mode: unix.S_IFDIR | 0o755}}}
	body := rep.AppendBody(h.Op, nil)
	return append(wire.Header{Kind: wire.KindReply, Op: h.Op, ID: h.ID, Body: len(body)}.Append(nil), body...)
}

// TestClientTakesAnyBytes lets a server answer with nonsense that fits the
// protocol more or less.
func TestClientTakesAnyBytes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 25 {
		open := rawServer(t, func(h wire.Header) []byte {
			if h.Op.OneWay() || h.Kind != wire.KindRequest {
				return nil
			}
			var rep wire.Reply
			body := rep.AppendBody(h.Op, nil)
			for i := range body {
				if rng.IntN(4) == 0 {
					body[i] = byte(rng.IntN(256))
				}
			}
			data := make([]byte, 0)
			if h.Op.ReplyData() {
				data = make([]byte, rng.IntN(200))
				for i := range data {
					data[i] = byte(rng.IntN(256) & rng.IntN(256))
				}
			}
			r := wire.Header{Kind: wire.KindReply, Op: h.Op, ID: h.ID, Body: len(body), Data: len(data)}
			if rng.IntN(30) == 0 {
				r.ID++
			}
			return append(append(r.Append(nil), body...), data...)
		})
		dir := t.TempDir()
		m, err := client.Mount(context.Background(), open, dir, client.Options{})
		require.NoError(t, err)
		cmd := exec.Command("sh", "-c", "ls -l "+dir+"; cat "+dir+"/a; echo x >"+dir+"/b; mkdir "+dir+"/c; getfattr -d "+dir+"; stat -f "+dir+"; ln -s x "+dir+"/l; readlink "+dir+"/l")
		_ = cmd.Start()
		done := make(chan struct{})
		go func() { _ = cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Error("client hangs")
		}
		unmount(t, m)
		<-done
	}
}

// TestServerNeverAnswers checks that a process can be killed that waits for a
// server that is stuck, and that the mount can be taken away.
func TestServerNeverAnswers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	open := rawServer(t, func(wire.Header) []byte { return nil })
	dir := t.TempDir()
	m := make(chan *client.FS, 1)
	go func() {
		fs, err := client.Mount(context.Background(), open, dir, client.Options{})
		assert.NoError(t, err)
		m <- fs
	}()
	var fs *client.FS
	select {
	case fs = <-m:
	case <-time.After(20 * time.Second):
		t.Fatal("Mount waits for a server that is stuck")
	}
	cmd := exec.Command("cat", filepath.Join(dir, "f"))
	require.NoError(t, cmd.Start())
	time.Sleep(100 * time.Millisecond)
	require.NoError(t, cmd.Process.Kill())
	killed := make(chan struct{})
	go func() { _ = cmd.Wait(); close(killed) }()
	select {
	case <-killed:
	case <-time.After(20 * time.Second):
		t.Error("a process that waits for a stuck server cannot be killed")
	}
	waiter := exec.Command("cat", filepath.Join(dir, "f"))
	var out bytes.Buffer
	waiter.Stderr = &out
	require.NoError(t, waiter.Start())
	time.Sleep(100 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	require.NoError(t, fs.Unmount(ctx))
	require.Error(t, waiter.Wait())
	require.Contains(t, out.String(), "Input/output error")
}

func TestHelloOfAnotherVersion(t *testing.T) {
	_, open, _ := escape(t)
	conn, err := open(context.Background())
	require.NoError(t, err)
	defer conn.Close()
	body := (&wire.Request{Op: wire.OpHello, Magic: wire.Magic, Version: 99, Name: "x"}).AppendBody(nil)
	_, err = conn.Write(append(wire.Header{Kind: wire.KindRequest, Op: wire.OpHello, Body: len(body)}.Append(nil), body...))
	require.NoError(t, err)
	reply, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Len(t, reply, wire.HeaderSize)
	require.EqualValues(t, 71, binary.LittleEndian.Uint32(reply[12:]))
	_, err = client.Mount(context.Background(), open, t.TempDir(), client.Options{Export: "none"})
	require.ErrorIs(t, err, os.ErrNotExist)
}
