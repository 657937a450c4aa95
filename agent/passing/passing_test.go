// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package passing

import (
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pass takes a file through Offer and Take.
func pass(t *testing.T, f *os.File, readOnly bool, flags int) (*os.File, string) {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "l"))
	require.NoError(t, err)
	defer l.Close()
	near, err := net.Dial("unix", l.Addr().String())
	require.NoError(t, err)
	far, err := l.Accept()
	require.NoError(t, err)
	files := Files{Log: slog.New(slog.DiscardHandler)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		files.Offer(t.Context(), near, f, readOnly)
	}()
	point := filepath.Join(dir, "p")
	fd, err := files.Take(t.Context(), far, point, flags)
	require.NoError(t, err)
	out := os.NewFile(uintptr(fd), "taken")
	t.Cleanup(func() {
		out.Close()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Error("the offer goes on although the file is closed")
		}
		assert.Eventually(t, func() bool {
			_, err := os.Lstat(point)
			return os.IsNotExist(err)
		}, 20*time.Second, 10*time.Millisecond, "the mount point stays")
	})
	return out, point
}

// A file without a name can be read and written, and both sides see the other's
// changes.
func TestWritableFile(t *testing.T) {
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	mine := os.NewFile(uintptr(fd), "memfd")
	defer mine.Close()
	dup, err := unix.FcntlInt(mine.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	_, err = mine.WriteString("from here")
	require.NoError(t, err)
	theirs, _ := pass(t, os.NewFile(uintptr(dup), "dup"), false, unix.O_RDWR)
	got, err := io.ReadAll(theirs)
	require.NoError(t, err)
	assert.Equal(t, "from here", string(got))
	_, err = theirs.WriteAt([]byte("there"), 5)
	require.NoError(t, err)
	got = make([]byte, 10)
	_, err = mine.ReadAt(got, 0)
	require.NoError(t, err)
	assert.Equal(t, "from there", string(got))
	require.NoError(t, theirs.Truncate(4))
	info, err := mine.Stat()
	require.NoError(t, err)
	assert.EqualValues(t, 4, info.Size())
}

// Who was given a file to read can't get to write it.
func TestReadOnlyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, []byte("text"), 0o600))
	f, err := os.Open(path)
	require.NoError(t, err)
	theirs, point := pass(t, f, true, unix.O_RDONLY)
	got, err := io.ReadAll(theirs)
	require.NoError(t, err)
	assert.Equal(t, "text", string(got))
	_, err = os.OpenFile(point, os.O_WRONLY, 0)
	assert.ErrorIs(t, err, unix.EROFS)
}

// A directory is one with everything in it.
func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sub", "f"), []byte("deep"), 0o600))
	f, err := os.Open(dir)
	require.NoError(t, err)
	theirs, _ := pass(t, f, false, unix.O_RDONLY|unix.O_DIRECTORY)
	names, err := theirs.Readdirnames(-1)
	require.NoError(t, err)
	assert.Equal(t, []string{"sub"}, names)
	fd, err := unix.Openat(int(theirs.Fd()), "sub/f", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	inner := os.NewFile(uintptr(fd), "inner")
	got, err := io.ReadAll(inner)
	inner.Close()
	require.NoError(t, err)
	assert.Equal(t, "deep", string(got))
}
