// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package fdpass_test

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/fdpass"
)

// pair returns two ends of a SOCK_SEQPACKET pair.
func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "end")
		c, err := net.FileConn(f)
		require.NoError(t, err)
		f.Close()
		t.Cleanup(func() { c.Close() })
		ends[i] = c.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

// pipes returns n pipes, of which the reading ends are to be passed.
func pipes(t *testing.T, n int) (readers, writers []*os.File) {
	t.Helper()
	for range n {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		t.Cleanup(func() { r.Close(); w.Close() })
		readers, writers = append(readers, r), append(writers, w)
	}
	return readers, writers
}

func TestPass(t *testing.T) {
	a, b := pair(t)
	readers, writers := pipes(t, 3)
	require.NoError(t, fdpass.Send(a, []byte("three"), readers...))
	got, files, err := fdpass.Receive(b, 100, fdpass.MaxFiles)
	require.NoError(t, err)
	require.Equal(t, "three", string(got))
	require.Len(t, files, 3)
	for i, f := range files {
		_, err := writers[i].WriteString("hello")
		require.NoError(t, err)
		buf := make([]byte, 5)
		_, err = io.ReadFull(f, buf)
		require.NoError(t, err)
		require.Equal(t, "hello", string(buf))
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
		require.NoError(t, err)
		require.NotZero(t, flags&unix.FD_CLOEXEC, "a child would get the descriptor")
		require.NoError(t, f.Close())
	}
	require.NoError(t, fdpass.Send(a, []byte("none")))
	got, files, err = fdpass.Receive(b, 100, 0)
	require.NoError(t, err)
	require.Equal(t, "none", string(got))
	require.Empty(t, files)
	require.NoError(t, a.Close())
	_, _, err = fdpass.Receive(b, 100, 0)
	require.ErrorIs(t, err, io.EOF)
}

// TestTooMuch sends more than the receiver takes: nothing of it may stay open.
func TestTooMuch(t *testing.T) {
	for _, c := range []struct {
		name            string
		message         string
		files           int
		maxBytes, allow int
	}{
		{"bytes", strings.Repeat("x", 101), 0, 100, 0},
		{"bytes and descriptors", strings.Repeat("x", 101), 2, 100, 2},
		{"a descriptor where none is expected", "x", 1, 100, 0},
		{"descriptors", "x", 3, 100, 2},
		{"as many as go", "x", fdpass.MaxFiles, 100, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := pair(t)
			readers, writers := pipes(t, c.files)
			require.NoError(t, fdpass.Send(a, []byte(c.message), readers...))
			got, files, err := fdpass.Receive(b, c.maxBytes, c.allow)
			require.ErrorIs(t, err, fdpass.ErrTruncated)
			require.Empty(t, got)
			require.Empty(t, files)
			for i, r := range readers {
				// With no reading end left anywhere a write fails.
				require.NoError(t, r.Close())
				_, err := writers[i].WriteString("x")
				require.ErrorIs(t, err, unix.EPIPE, "descriptor %d is still open", i)
			}
		})
	}
}

func TestBadCalls(t *testing.T) {
	a, b := pair(t)
	require.ErrorContains(t, fdpass.Send(a, nil), "message is empty")
	readers, _ := pipes(t, fdpass.MaxFiles+1)
	require.ErrorContains(t, fdpass.Send(a, []byte("x"), readers...), "17 descriptors, more than 16")
	require.NoError(t, readers[0].Close())
	require.ErrorContains(t, fdpass.Send(a, []byte("x"), readers[0]), "use of closed file")
	for _, limits := range [][2]int{{0, 0}, {-1, 0}, {1, -1}, {1, fdpass.MaxFiles + 1}} {
		_, _, err := fdpass.Receive(b, limits[0], limits[1])
		require.ErrorContains(t, err, "out of range")
	}
}
