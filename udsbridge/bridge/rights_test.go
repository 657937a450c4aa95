// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/wire"
)

// passFile sends a message with a descriptor from one end, receives it at the other
// and closes the sender's own.
func passFile(t testing.TB, from, to *net.UnixConn, f *os.File) *os.File {
	t.Helper()
	sendFile(t, from, f)
	buf, oob := make([]byte, 16), make([]byte, 256)
	n, oobn, _, _, err := to.ReadMsgUnix(buf, oob)
	require.NoError(t, err)
	assert.Equal(t, "here it is", string(buf[:n]))
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	require.NoError(t, err)
	require.Len(t, messages, 1)
	fds, err := unix.ParseUnixRights(&messages[0])
	require.NoError(t, err)
	require.Len(t, fds, 1)
	// Non-blocking, so that the test's reads have deadlines; it is a description of
	// its own.
	require.NoError(t, unix.SetNonblock(fds[0], true))
	out := os.NewFile(uintptr(fds[0]), "received")
	t.Cleanup(func() { out.Close() })
	_ = out.SetDeadline(time.Now().Add(time.Minute))
	return out
}

func sendFile(t testing.TB, from *net.UnixConn, f *os.File) {
	t.Helper()
	_, _, err := from.WriteMsgUnix([]byte("here it is"), unix.UnixRights(int(f.Fd())), nil)
	require.NoError(t, err)
	f.Close()
}

// eachWay runs a test with descriptors going from the client to the server and back.
func eachWay(t *testing.T, test func(t *testing.T, from, to *net.UnixConn)) {
	for _, network := range []string{"unix", "unixpacket"} {
		for _, up := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/up=%t", network, up), func(t *testing.T) {
				p := newPair(t, pairOptions{})
				client, server := p.connect(network)
				if up {
					test(t, client, server)
				} else {
					test(t, server, client)
				}
				client.Close()
				server.Close()
				eventually(t, func() bool { return p.near.joints.Load() == 0 && p.far.joints.Load() == 0 }, "descriptors are closed")
			})
		}
	}
}

func TestPassPipe(t *testing.T) {
	eachWay(t, func(t *testing.T, from, to *net.UnixConn) {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		theirs := passFile(t, from, to, w)
		data := random(t, 300<<10)
		go func() {
			_, _ = theirs.Write(data)
			theirs.Close()
		}()
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		assert.Equal(t, data, got)

		r, w, err = os.Pipe()
		require.NoError(t, err)
		reader := passFile(t, from, to, r)
		_, err = w.Write([]byte("to you"))
		require.NoError(t, err)
		buf := make([]byte, 6)
		_, err = io.ReadFull(reader, buf)
		require.NoError(t, err)
		assert.Equal(t, "to you", string(buf))
		// Whoever writes to a pipe that its last reader has closed is told.
		reader.Close()
		eventually(t, func() bool {
			_, err := w.Write([]byte("x"))
			return errors.Is(err, syscall.EPIPE)
		}, "EPIPE")
		w.Close()
	})
}

func TestPassFIFO(t *testing.T) {
	eachWay(t, func(t *testing.T, from, to *net.UnixConn) {
		path := filepath.Join(shortDir(t), "fifo")
		require.NoError(t, unix.Mkfifo(path, 0o600))
		r, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		require.NoError(t, err)
		defer r.Close()
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		require.NoError(t, err)
		theirs := passFile(t, from, to, w)
		_, err = theirs.WriteString("through")
		require.NoError(t, err)
		theirs.Close()
		require.NoError(t, r.SetDeadline(time.Now().Add(time.Minute)))
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		assert.Equal(t, "through", string(got))
	})
}

// A passed socket is bridged itself, and can pass descriptors in turn.
func TestPassSocket(t *testing.T) {
	eachWay(t, func(t *testing.T, from, to *net.UnixConn) {
		ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		mine, passed := asConn(t, os.NewFile(uintptr(ends[0]), "mine")), os.NewFile(uintptr(ends[1]), "passed")
		theirs := asConn(t, passFile(t, from, to, passed))
		r, w, err := os.Pipe()
		require.NoError(t, err)
		inner := passFile(t, theirs, mine, w)
		_, err = inner.WriteString("deep")
		require.NoError(t, err)
		inner.Close()
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		assert.Equal(t, "deep", string(got))
		theirs.Close()
		_, err = mine.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
		mine.Close()
	})
}

func asConn(t testing.TB, f *os.File) *net.UnixConn {
	t.Helper()
	c, err := net.FileConn(f)
	require.NoError(t, err)
	f.Close()
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	return c.(*net.UnixConn)
}

func TestPassTCP(t *testing.T) {
	eachWay(t, func(t *testing.T, from, to *net.UnixConn) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		f, err := c.(*net.TCPConn).File()
		require.NoError(t, err)
		c.Close()
		s, err := l.Accept()
		require.NoError(t, err)
		defer s.Close()
		require.NoError(t, s.SetDeadline(time.Now().Add(time.Minute)))
		theirs := asConn(t, passFile(t, from, to, f))
		_, err = theirs.Write([]byte("over tcp"))
		require.NoError(t, err)
		require.NoError(t, theirs.CloseWrite())
		got, err := io.ReadAll(s)
		require.NoError(t, err)
		assert.Equal(t, "over tcp", string(got))
		_, err = s.Write([]byte("back"))
		require.NoError(t, err)
		s.Close()
		got, err = io.ReadAll(theirs)
		require.NoError(t, err)
		assert.Equal(t, "back", string(got))
		theirs.Close()
	})
}

func TestPassDevice(t *testing.T) {
	eachWay(t, func(t *testing.T, from, to *net.UnixConn) {
		f, err := os.Open("/dev/zero")
		require.NoError(t, err)
		theirs := passFile(t, from, to, f)
		buf := []byte{1, 2, 3}
		_, err = io.ReadFull(theirs, buf)
		require.NoError(t, err)
		assert.Equal(t, []byte{0, 0, 0}, buf)
	})
}

// A sealed memfd arrives with the same content, at the same offset, and sealed.
func TestPassSealed(t *testing.T) {
	eachWay(t, func(t *testing.T, from, to *net.UnixConn) {
		fd, err := unix.MemfdCreate("test", unix.MFD_ALLOW_SEALING|unix.MFD_CLOEXEC)
		require.NoError(t, err)
		f := os.NewFile(uintptr(fd), "memfd")
		data := random(t, 1<<20)
		_, err = f.Write(data)
		require.NoError(t, err)
		_, err = f.Seek(1000, io.SeekStart)
		require.NoError(t, err)
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK)
		require.NoError(t, err)
		theirs := passFile(t, from, to, f)
		got, err := io.ReadAll(theirs)
		require.NoError(t, err)
		assert.Equal(t, data[1000:], got)
		seals, err := unix.FcntlInt(theirs.Fd(), unix.F_GET_SEALS, 0)
		require.NoError(t, err)
		assert.NotZero(t, seals&unix.F_SEAL_WRITE)
	})
}

// What can't be passed ends the connection of the one who tried, and the reason can
// be asked for.
func TestPassImpossible(t *testing.T) {
	p := newPair(t, pairOptions{})
	client, server := p.connect("unix")
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	require.NoError(t, err)
	sendFile(t, client, os.NewFile(uintptr(fd), "epoll"))
	eventually(t, func() bool {
		_, err := client.Write([]byte("x"))
		return errors.Is(err, syscall.EPIPE)
	}, "EPIPE at the sender")
	_, err = server.Read(make([]byte, 100))
	assert.Error(t, err)
	assert.Contains(t, p.near.Status().Problem, "descriptor of anon_inode:[eventpoll] can't be passed to the peer: it has a meaning on its own machine only")
}

// Both ends of an eventfd can signal the other, again and again.
func TestPassEvent(t *testing.T) {
	eachWay(t, func(t *testing.T, from, to *net.UnixConn) {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		require.NoError(t, err)
		mine := os.NewFile(uintptr(fd), "eventfd")
		defer mine.Close()
		dup, err := unix.FcntlInt(mine.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		require.NoError(t, err)
		theirs := passFile(t, from, to, os.NewFile(uintptr(dup), "dup"))
		for i := range 8 {
			signal(t, mine, theirs, uint64(i+1))
			signal(t, theirs, mine, uint64(i%3+1))
		}
	})
}

func signal(t testing.TB, from, to *os.File, n uint64) {
	t.Helper()
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], n)
	_, err := unix.Write(int(from.Fd()), b[:])
	require.NoError(t, err)
	var got uint64
	eventually(t, func() bool {
		if _, err := unix.Read(int(to.Fd()), b[:]); err == nil {
			got += binary.NativeEndian.Uint64(b[:])
		}
		return got >= n // more is a signal too many, which waiters must bear
	}, "signal of %d", n)
}

// A passed terminal is one: it has the size and the settings of the sender's, which
// follows what the receiver's program sets.
func TestPassTerminal(t *testing.T) {
	eachWay(t, func(t *testing.T, from, to *net.UnixConn) {
		master, slave, err := openTerminal(wire.File{Read: true, Write: true, Terminal: plainTerminal(t)})
		require.NoError(t, err)
		require.NoError(t, unix.IoctlSetPointerInt(master, unix.TIOCPKT, 0))
		user, mine := os.NewFile(uintptr(master), "user"), os.NewFile(uintptr(slave), "mine")
		defer user.Close()
		defer mine.Close()
		require.NoError(t, set(slave, plainTerminal(t), 0))
		dup, err := unix.FcntlInt(mine.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		require.NoError(t, err)
		require.NoError(t, user.SetDeadline(time.Now().Add(time.Minute)))

		theirs := passFile(t, from, to, os.NewFile(uintptr(dup), "dup"))
		fd := int(theirs.Fd())
		s, err := settingsOf(fd)
		require.NoError(t, err)
		assert.Equal(t, plainTerminal(t), s)

		// What is typed is echoed once and comes as a line; an end of input as such.
		_, err = user.WriteString("typed\n")
		require.NoError(t, err)
		assert.Equal(t, "typed\r\n", readN(t, user, 7))
		assert.Equal(t, "typed\n", readFD(t, fd, 6))
		_, err = user.WriteString("\x04")
		require.NoError(t, err)
		assert.Empty(t, readFD(t, fd, 1))
		_, err = user.WriteString("more\n")
		require.NoError(t, err)
		assert.Equal(t, "more\r\n", readN(t, user, 6))
		assert.Equal(t, "more\n", readFD(t, fd, 5))
		// What is printed is cooked once.
		_, err = unix.Write(fd, []byte("printed\n"))
		require.NoError(t, err)
		assert.Equal(t, "printed\r\n", readN(t, user, 9))

		raw := s
		raw.Local &^= unix.ICANON | unix.ECHO
		raw.Output &^= unix.OPOST
		require.NoError(t, set(fd, raw, unix.EXTPROC))
		eventually(t, func() bool {
			s, err := settingsOf(int(mine.Fd()))
			return err == nil && s == raw
		}, "settings")
		_, err = user.WriteString("k")
		require.NoError(t, err)
		assert.Equal(t, "k", readFD(t, fd, 1))

		require.NoError(t, unix.IoctlSetWinsize(int(mine.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 132}))
		eventually(t, func() bool {
			w, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
			return err == nil && w.Row == 50 && w.Col == 132
		}, "size")
		theirs.Close()
	})
}

// plainTerminal is how terminals usually are.
func plainTerminal(t testing.TB) wire.Terminal {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	s, err := settingsOf(fd)
	require.NoError(t, err)
	s.Rows, s.Columns = 24, 80
	return s
}

func readN(t testing.TB, f *os.File, n int) string {
	t.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(f, b)
	require.NoError(t, err)
	return string(b)
}

// readFD reads once from a descriptor that doesn't block, when it has something.
func readFD(t testing.TB, fd, n int) string {
	t.Helper()
	b := make([]byte, n)
	got := 0
	eventually(t, func() bool {
		var err error
		got, err = unix.Read(fd, b)
		return err == nil
	}, "something to read")
	return string(b[:got])
}
