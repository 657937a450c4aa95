// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package remotefs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/client"
	"github.com/container-offload/offload/remotefs/server"
)

func write(t testing.TB, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

func stat(t testing.TB, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(path, &st))
	return st
}

// asUser runs a shell script as user and group 1000.
func asUser(t testing.TB, script string) (string, error) {
	t.Helper()
	out, err := exec.Command("setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "sh", "-c", script).CombinedOutput()
	return string(out), err
}

func TestRenameFlags(t *testing.T) {
	far, near := pair(t, server.Export{}, client.Options{})
	a, b := filepath.Join(far, "a"), filepath.Join(far, "b")
	write(t, a, "a")
	write(t, b, "b")
	require.ErrorIs(t, unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_NOREPLACE), unix.EEXIST)
	require.NoError(t, unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE))
	require.Equal(t, "b", read(t, a))
	require.Equal(t, "a", read(t, filepath.Join(near, "b")))
	require.NoError(t, unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, filepath.Join(far, "c"), unix.RENAME_NOREPLACE))
	require.NoFileExists(t, a)
	require.NoError(t, os.Rename(b, filepath.Join(far, "c")))
	require.Equal(t, "a", read(t, filepath.Join(near, "c")))
}

func TestHardLinksAndUnlinkedFiles(t *testing.T) {
	far, near := pair(t, server.Export{}, client.Options{})
	a, b := filepath.Join(far, "a"), filepath.Join(far, "b")
	write(t, a, "one")
	require.NoError(t, os.Link(a, b))
	require.Equal(t, stat(t, a).Ino, stat(t, b).Ino)
	require.EqualValues(t, 2, stat(t, b).Nlink)
	require.Equal(t, stat(t, filepath.Join(near, "a")).Ino, stat(t, b).Ino)
	f, err := os.OpenFile(a, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, os.Remove(a))
	require.NoError(t, os.Remove(b))
	_, err = f.WriteAt([]byte("two"), 0)
	require.NoError(t, err)
	got := make([]byte, 3)
	_, err = f.ReadAt(got, 0)
	require.NoError(t, err)
	require.Equal(t, "two", string(got))
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(int(f.Fd()), &st))
	require.EqualValues(t, 0, st.Nlink)
	names, err := os.ReadDir(near)
	require.NoError(t, err)
	require.Empty(t, names, "no silly names are left")
}

func TestSparseFiles(t *testing.T) {
	far, near := pair(t, server.Export{}, client.Options{})
	path := filepath.Join(far, "f")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	fd := int(f.Fd())
	_, err = f.WriteAt(bytes.Repeat([]byte("x"), 4096), 1<<20)
	require.NoError(t, err)
	off, err := unix.Seek(fd, 0, unix.SEEK_DATA)
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, off)
	off, err = unix.Seek(fd, 1<<20, unix.SEEK_HOLE)
	require.NoError(t, err)
	require.EqualValues(t, 1<<20+4096, off)
	_, err = unix.Seek(fd, 2<<20, unix.SEEK_DATA)
	require.ErrorIs(t, err, unix.ENXIO)
	require.NoError(t, unix.Fallocate(fd, 0, 0, 4<<20))
	require.EqualValues(t, 4<<20, stat(t, path).Size)
	require.NoError(t, unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 1<<20, 4096))
	got := make([]byte, 4096)
	_, err = f.ReadAt(got, 1<<20)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 4096), got)
	require.ErrorIs(t, unix.Fallocate(fd, 0x8000, 0, 1), unix.EOPNOTSUPP)
	require.NoError(t, f.Truncate(10))
	require.EqualValues(t, 10, stat(t, filepath.Join(near, "f")).Size)
}

func TestMmap(t *testing.T) {
	far, near := apart(t, "auto")
	path := filepath.Join(far, "f")
	write(t, path, strings.Repeat("a", 8192))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	shared, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	private, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	require.NoError(t, err)
	private[1] = 'p'
	shared[4096] = 's'
	_, err = f.WriteAt([]byte("w"), 4097)
	require.NoError(t, err)
	require.Equal(t, byte('w'), shared[4097], "write(2) shows in the mapping")
	got := make([]byte, 1)
	_, err = f.ReadAt(got, 4096)
	require.NoError(t, err)
	require.Equal(t, "s", string(got), "the mapping shows in read(2)")
	require.NoError(t, unix.Msync(shared, unix.MS_SYNC))
	onServer := read(t, filepath.Join(near, "f"))
	require.Equal(t, "sw", onServer[4096:4098])
	require.Equal(t, byte('a'), onServer[1])
	require.NoError(t, unix.Munmap(shared))
	require.NoError(t, unix.Munmap(private))
}

func TestXattrs(t *testing.T) {
	far, near := pair(t, server.Export{}, client.Options{})
	path := filepath.Join(far, "f")
	write(t, path, "")
	capability := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	for name, value := range map[string][]byte{
		"user.u": bytes.Repeat([]byte("u"), 1000), "trusted.t": {}, "security.capability": capability,
	} {
		require.NoError(t, unix.Setxattr(path, name, value, unix.XATTR_CREATE), name)
		require.ErrorIs(t, unix.Setxattr(path, name, value, unix.XATTR_CREATE), unix.EEXIST)
		got := make([]byte, 2000)
		n, err := unix.Getxattr(filepath.Join(near, "f"), name, got)
		require.NoError(t, err)
		require.Equal(t, value, got[:n])
		n, err = unix.Getxattr(path, name, got)
		require.NoError(t, err)
		require.Equal(t, value, got[:n])
		n, err = unix.Getxattr(path, name, nil)
		require.NoError(t, err)
		require.Equal(t, len(value), n)
	}
	_, err := unix.Getxattr(path, "user.u", make([]byte, 5))
	require.ErrorIs(t, err, unix.ERANGE)
	list := make([]byte, 1000)
	n, err := unix.Listxattr(path, list)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"user.u", "trusted.t", "security.capability"}, strings.Split(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00"))
	require.NoError(t, unix.Removexattr(path, "user.u"))
	_, err = unix.Getxattr(path, "user.u", nil)
	require.ErrorIs(t, err, unix.ENODATA)
	require.NoError(t, os.Symlink("nowhere", filepath.Join(far, "l")))
	require.NoError(t, unix.Lsetxattr(filepath.Join(far, "l"), "trusted.l", []byte("l"), 0))
	n, err = unix.Lgetxattr(filepath.Join(near, "l"), "trusted.l", list)
	require.NoError(t, err)
	require.Equal(t, "l", string(list[:n]))
}

// acl is the bytes of an access list: the owner may all, user 1000 what is
// asked for, the group and others nothing.
func acl(user byte) []byte {
	entry := func(tag, perm byte, id uint32) []byte {
		return []byte{tag, 0, perm, 0, byte(id), byte(id >> 8), byte(id >> 16), byte(id >> 24)}
	}
	b := []byte{2, 0, 0, 0}
	b = append(b, entry(0x01, 7, ^uint32(0))...)
	b = append(b, entry(0x02, user, 1000)...)
	b = append(b, entry(0x04, 0, ^uint32(0))...)
	b = append(b, entry(0x10, 7, ^uint32(0))...)
	return append(b, entry(0x20, 0, ^uint32(0))...)
}

func TestACL(t *testing.T) {
	far, near := pair(t, server.Export{}, client.Options{AttrTimeout: -1})
	forEverybody(t, far)
	require.NoError(t, os.Chmod(far, 0o755))
	path := filepath.Join(far, "f")
	write(t, path, "secret")
	require.NoError(t, os.Chmod(path, 0o600))
	_, err := asUser(t, "cat "+path)
	require.Error(t, err)
	require.NoError(t, unix.Setxattr(path, "system.posix_acl_access", acl(4), 0))
	out, err := asUser(t, "cat "+path)
	require.NoError(t, err, out)
	require.Equal(t, "secret", out)
	_, err = asUser(t, "echo >>"+path)
	require.Error(t, err)

	dir := filepath.Join(far, "d")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, unix.Setxattr(dir, "system.posix_acl_default", acl(6), 0))
	require.NoError(t, exec.Command("sh", "-c", "umask 077; echo x >"+dir+"/f; mkdir "+dir+"/d").Run())
	for _, name := range []string{"f", "d"} {
		want := make([]byte, 100)
		n, err := unix.Getxattr(filepath.Join(near, "d", name), "system.posix_acl_access", want)
		require.NoError(t, err)
		require.Equal(t, byte(6), want[4+8+2], "user 1000's entry is inherited")
		require.Equal(t, 4+5*8, n)
	}
	require.Equal(t, uint32(0o660), stat(t, filepath.Join(near, "d/f")).Mode&0o777, "the umask does not matter")
}

func TestOwnersAndModes(t *testing.T) {
	far, near := pair(t, server.Export{}, client.Options{})
	forEverybody(t, far)
	require.NoError(t, os.Chmod(far, 0o777))
	out, err := asUser(t, "umask 027; cd "+far+" && echo >f && mkdir d && mkfifo p && ln -s f l && : >e && chmod 6755 e")
	require.NoError(t, err, out)
	for name, mode := range map[string]uint32{"f": 0o640, "d": 0o750, "p": 0o640, "l": 0o777, "e": 0o6755} {
		st := stat(t, filepath.Join(near, name))
		assert.Equal(t, uint32(1000), st.Uid, name)
		assert.Equal(t, uint32(1000), st.Gid, name)
		assert.Equal(t, mode, st.Mode&0o7777, name)
	}
	// What this process' umask would take away.
	require.NoError(t, exec.Command("sh", "-c", "umask 0; cd "+far+" && : >w && mkdir wd && mkfifo wp").Run())
	for name, mode := range map[string]uint32{"w": 0o666, "wd": 0o777, "wp": 0o666} {
		assert.Equal(t, mode, stat(t, filepath.Join(near, name)).Mode&0o777, name)
	}

	out, err = asUser(t, "echo x >>"+far+"/e")
	require.NoError(t, err, out)
	require.Equal(t, uint32(0o755), stat(t, filepath.Join(near, "e")).Mode&0o7777, "a write takes the set-id bits")
	require.NoError(t, os.Chmod(filepath.Join(far, "e"), 0o755|os.ModeSetuid))
	require.NoError(t, os.Chown(filepath.Join(far, "e"), 5, 6))
	st := stat(t, filepath.Join(near, "e"))
	require.Equal(t, uint32(0o755), st.Mode&0o7777, "a change of the owner takes them")
	require.Equal(t, []uint32{5, 6}, []uint32{st.Uid, st.Gid})
	_, err = asUser(t, "chown 1000 "+far+"/e")
	require.Error(t, err)
	_, err = asUser(t, "chmod 777 "+far+"/e")
	require.Error(t, err)

	require.NoError(t, os.Chown(filepath.Join(far, "wd"), 0, 77))
	require.NoError(t, os.Chmod(filepath.Join(far, "wd"), 0o777|os.ModeSetgid))
	out, err = asUser(t, "cd "+far+"/wd && : >f && mkdir d")
	require.NoError(t, err, out)
	require.Equal(t, uint32(77), stat(t, filepath.Join(near, "wd/f")).Gid)
	require.Equal(t, uint32(77), stat(t, filepath.Join(near, "wd/d")).Gid)
	require.NotZero(t, stat(t, filepath.Join(near, "wd/d")).Mode&unix.S_ISGID)
}

func TestDeviceNumbers(t *testing.T) {
	far, near := pair(t, server.Export{}, client.Options{})
	dev := unix.Mkdev(300, 70000)
	path := filepath.Join(far, "dev")
	require.NoError(t, unix.Mknod(path, unix.S_IFCHR|0o600, int(dev)))
	require.Equal(t, dev, stat(t, filepath.Join(near, "dev")).Rdev)
	require.Equal(t, dev, stat(t, path).Rdev)
	null := filepath.Join(far, "null")
	require.NoError(t, unix.Mknod(null, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	write(t, null, "gone") // the client's own device
	require.Empty(t, read(t, null))
}

func TestNames(t *testing.T) {
	far, near := pair(t, server.Export{}, client.Options{})
	all := make([]byte, 0, 255)
	for b := 1; b < 256; b++ {
		if b != '/' {
			all = append(all, byte(b))
		}
	}
	for _, name := range []string{string(all), strings.Repeat("n", 255), "\xff\xfe", "...", " "} {
		write(t, filepath.Join(far, name), name)
		require.Equal(t, name, read(t, filepath.Join(near, name)))
		require.Equal(t, name, read(t, filepath.Join(far, name)))
	}
	_, err := os.Stat(filepath.Join(far, strings.Repeat("n", 256)))
	require.ErrorIs(t, err, unix.ENAMETOOLONG)
	names, err := os.ReadDir(far)
	require.NoError(t, err)
	require.Len(t, names, 5)
	target := strings.Repeat("t", 4095)
	require.NoError(t, os.Symlink(target, filepath.Join(far, "link")))
	got, err := os.Readlink(filepath.Join(far, "link"))
	require.NoError(t, err)
	require.Equal(t, target, got)
}

func TestCopyFileRange(t *testing.T) {
	far, near := pair(t, server.Export{}, client.Options{})
	data := strings.Repeat("copy", 1<<18)
	write(t, filepath.Join(far, "a"), data)
	a, err := os.Open(filepath.Join(far, "a"))
	require.NoError(t, err)
	defer a.Close()
	b, err := os.Create(filepath.Join(far, "b"))
	require.NoError(t, err)
	defer b.Close()
	from, to := int64(4), int64(0)
	for to < int64(len(data)-4) {
		n, err := unix.CopyFileRange(int(a.Fd()), &from, int(b.Fd()), &to, len(data), 0)
		require.NoError(t, err)
		require.NotZero(t, n)
	}
	require.Equal(t, data[4:], read(t, filepath.Join(near, "b")))
	require.Equal(t, data[4:], read(t, filepath.Join(far, "b")))
}

func TestBigDirectory(t *testing.T) {
	far, near := pair(t, server.Export{}, client.Options{})
	const n = 100_000
	dir := filepath.Join(near, "d")
	require.NoError(t, os.Mkdir(dir, 0o755))
	first := filepath.Join(dir, "0")
	write(t, first, "")
	for i := 1; i < n; i++ {
		// Links cost less than files; ext4 allows 65,000 of one file.
		if i%50_000 == 0 {
			first = filepath.Join(dir, fmt.Sprint(i))
			write(t, first, "")
			continue
		}
		require.NoError(t, os.Link(first, filepath.Join(dir, fmt.Sprint(i))))
	}
	f, err := os.Open(filepath.Join(far, "d"))
	require.NoError(t, err)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, name := range names {
		seen[name] = true
	}
	require.Len(t, names, n)
	require.Len(t, seen, n)
}

// TestSeekDir goes back to each place in a directory that it was told.
func TestSeekDir(t *testing.T) {
	far, _ := pair(t, server.Export{}, client.Options{})
	for i := range 1000 {
		write(t, filepath.Join(far, fmt.Sprint("name-", i)), "")
	}
	fd, err := unix.Open(far, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	type place struct {
		off  int64
		next string
	}
	var places []place
	buf := make([]byte, 4096)
	off := int64(0)
	for {
		n, err := unix.Getdents(fd, buf)
		require.NoError(t, err)
		if n == 0 {
			break
		}
		_, _, names := unix.ParseDirent(buf[:n], 1, nil)
		places = append(places, place{off, names[0]})
		off, err = unix.Seek(fd, 0, io.SeekCurrent)
		require.NoError(t, err)
	}
	require.Greater(t, len(places), 5)
	for i := len(places) - 1; i >= 0; i-- {
		_, err := unix.Seek(fd, places[i].off, io.SeekStart)
		require.NoError(t, err)
		n, err := unix.Getdents(fd, buf)
		require.NoError(t, err)
		_, _, names := unix.ParseDirent(buf[:n], 1, nil)
		require.Equal(t, places[i].next, names[0])
	}
}

func TestReadOnlyExport(t *testing.T) {
	far, near := pair(t, server.Export{ReadOnly: true}, client.Options{})
	write(t, filepath.Join(near, "f"), "x")
	path := filepath.Join(far, "f")
	require.Equal(t, "x", read(t, path))
	for name, change := range map[string]func() error{
		"write":    func() error { return os.WriteFile(path, []byte("y"), 0) },
		"truncate": func() error { return os.Truncate(path, 0) },
		"create":   func() error { return os.WriteFile(path+"2", nil, 0o644) },
		"mkdir":    func() error { return os.Mkdir(path+"2", 0o755) },
		"unlink":   func() error { return os.Remove(path) },
		"rename":   func() error { return os.Rename(path, path+"2") },
		"link":     func() error { return os.Link(path, path+"2") },
		"symlink":  func() error { return os.Symlink("x", path+"2") },
		"chmod":    func() error { return os.Chmod(path, 0o600) },
		"chown":    func() error { return os.Chown(path, 1, 1) },
		"times":    func() error { return os.Chtimes(path, time.Now(), time.Now()) },
		"xattr":    func() error { return unix.Setxattr(path, "user.x", []byte("x"), 0) },
		"mkfifo":   func() error { return unix.Mkfifo(path+"2", 0o644) },
		"tmpfile": func() error {
			fd, err := unix.Open(far, unix.O_TMPFILE|unix.O_RDWR, 0o600)
			if err == nil {
				unix.Close(fd)
			}
			return err
		},
	} {
		require.ErrorIs(t, change(), unix.EROFS, name)
	}
	require.Equal(t, "x", read(t, filepath.Join(near, "f")))
}

func TestProc(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	s := server.New(server.Options{})
	require.NoError(t, s.Add(server.Export{Name: "proc", Path: "/proc", CrossMounts: true}))
	require.NoError(t, s.Add(server.Export{Name: "sys", Path: "/sys", CrossMounts: true, ReadOnly: true}))
	_, far := mount(t, serve(t, s), client.Options{})
	require.Equal(t, read(t, "/proc/version"), read(t, filepath.Join(far, "proc/version")))
	require.Equal(t, read(t, "/proc/sys/kernel/ostype"), read(t, filepath.Join(far, "proc/sys/kernel/ostype")))
	require.Equal(t, len(strings.Split(read(t, "/proc/cpuinfo"), "\n")), len(strings.Split(read(t, filepath.Join(far, "proc/cpuinfo")), "\n")))
	require.Equal(t, read(t, "/sys/kernel/mm/transparent_hugepage/enabled"), read(t, filepath.Join(far, "sys/kernel/mm/transparent_hugepage/enabled")))

	// A write's error is the far kernel's.
	score := filepath.Join(far, fmt.Sprintf("proc/%d/oom_score_adj", os.Getpid()))
	require.ErrorIs(t, os.WriteFile(score, []byte("20000"), 0), unix.EINVAL)
	require.ErrorIs(t, os.WriteFile(score, []byte("x"), 0), unix.EINVAL)

	// A file that vanishes.
	cmd := exec.Command("sleep", "100")
	require.NoError(t, cmd.Start())
	dir := filepath.Join(far, fmt.Sprintf("proc/%d", cmd.Process.Pid))
	require.Equal(t, "sleep\n", read(t, filepath.Join(dir, "comm")))
	f, err := os.Open(filepath.Join(dir, "status"))
	require.NoError(t, err)
	defer f.Close()
	// Magic links are shown, and do not lead anywhere on the server.
	target, err := os.Readlink(filepath.Join(dir, "exe"))
	require.NoError(t, err)
	require.Contains(t, target, "sleep")
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	_, err = io.ReadAll(f)
	require.ErrorIs(t, err, unix.ESRCH)
}

func TestMountsBelowAnExport(t *testing.T) {
	far, near := pair(t, server.Export{CrossMounts: true}, client.Options{EntryTimeout: -1, AttrTimeout: -1})
	sub := filepath.Join(near, "sub")
	require.NoError(t, os.Mkdir(sub, 0o755))
	write(t, filepath.Join(sub, "covered"), "")
	require.FileExists(t, filepath.Join(far, "sub/covered"))
	plainIno := stat(t, filepath.Join(far, "sub")).Ino
	inodes := map[uint64]string{}
	for i, name := range []string{"sub", "sub2"} {
		dir := filepath.Join(near, name)
		require.NoError(t, os.MkdirAll(dir, 0o755))
		require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
		write(t, filepath.Join(dir, "mounted"), name)
		require.Equal(t, name, read(t, filepath.Join(far, name, "mounted")))
		for _, path := range []string{name, name + "/mounted"} {
			ino := stat(t, filepath.Join(far, path)).Ino
			require.NotContains(t, inodes, ino, "%s and %s", path, inodes[ino])
			inodes[ino] = path
		}
		require.NoFileExists(t, filepath.Join(far, name, "covered"), i)
	}
	require.Equal(t, stat(t, filepath.Join(near, "sub/mounted")).Ino, stat(t, filepath.Join(near, "sub2/mounted")).Ino, "two files with one number")
	require.ErrorIs(t, os.Rename(filepath.Join(far, "sub/mounted"), filepath.Join(far, "moved")), unix.EXDEV)
	require.ErrorIs(t, os.Link(filepath.Join(far, "sub/mounted"), filepath.Join(far, "moved")), unix.EXDEV)
	require.ErrorIs(t, os.Remove(filepath.Join(far, "sub")), unix.EBUSY)
	// The client's kernel knows files of the mounts, and yet does not keep
	// them busy.
	require.NoError(t, unix.Unmount(filepath.Join(near, "sub2"), unix.MNT_DETACH))
	require.NoError(t, unix.Unmount(sub, unix.MNT_DETACH))
	require.FileExists(t, filepath.Join(far, "sub/covered"))
	require.Equal(t, plainIno, stat(t, filepath.Join(far, "sub")).Ino)
	require.Eventually(t, func() bool { return !holdsTmpfs(t, near) }, 10*time.Second, 10*time.Millisecond, "descriptors of unmounted file systems")
}

// holdsTmpfs reports whether this process has a descriptor of a file that was
// below dir on a file system that is unmounted.
func holdsTmpfs(t testing.TB, dir string) bool {
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, fd := range fds {
		target, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err == nil && (target == "/mounted" || target == "/") && !strings.HasPrefix(target, dir) {
			var st unix.Statfs_t
			if unix.Statfs("/proc/self/fd/"+fd.Name(), &st) == nil && st.Type == unix.TMPFS_MAGIC {
				return true
			}
		}
	}
	return false
}

func TestCoveredDirectoriesShow(t *testing.T) {
	far, near := pair(t, server.Export{}, client.Options{})
	sub := filepath.Join(near, "sub")
	require.NoError(t, os.Mkdir(sub, 0o755))
	write(t, filepath.Join(sub, "covered"), "")
	require.NoError(t, unix.Mount("tmpfs", sub, "tmpfs", 0, ""))
	defer func() { _ = unix.Unmount(sub, unix.MNT_DETACH) }()
	require.FileExists(t, filepath.Join(far, "sub/covered"))
}

func TestLocks(t *testing.T) {
	far, near := pair(t, server.Export{}, client.Options{})
	write(t, filepath.Join(near, "f"), "0123456789")
	open := func(path string) *os.File {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	local, remote := open(filepath.Join(near, "f")), open(filepath.Join(far, "f"))
	lock := func(f *os.File, cmd int, typ int16, start, n int64) error {
		return unix.FcntlFlock(f.Fd(), cmd, &unix.Flock_t{Type: typ, Start: start, Len: n})
	}
	// A lock of this machine's and one through the mount see each other.
	require.NoError(t, lock(local, unix.F_OFD_SETLK, unix.F_WRLCK, 0, 5))
	require.ErrorIs(t, lock(remote, unix.F_SETLK, unix.F_RDLCK, 4, 2), unix.EAGAIN)
	require.NoError(t, lock(remote, unix.F_SETLK, unix.F_WRLCK, 5, 5))
	require.ErrorIs(t, lock(local, unix.F_OFD_SETLK, unix.F_WRLCK, 9, 1), unix.EAGAIN)
	get := unix.Flock_t{Type: unix.F_WRLCK, Start: 0, Len: 0}
	require.NoError(t, unix.FcntlFlock(remote.Fd(), unix.F_GETLK, &get))
	require.EqualValues(t, unix.F_WRLCK, get.Type)
	require.EqualValues(t, []int64{0, 5}, []int64{get.Start, get.Len})

	// A lock that is waited for.
	got := make(chan error, 1)
	go func() { got <- lock(remote, unix.F_SETLKW, unix.F_WRLCK, 0, 5) }()
	select {
	case err := <-got:
		t.Fatalf("lock was not waited for: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	require.NoError(t, lock(local, unix.F_OFD_SETLK, unix.F_UNLCK, 0, 5))
	require.NoError(t, <-got)

	// Closing any descriptor gives the process' locks back.
	other := open(filepath.Join(far, "f"))
	other.Close()
	require.NoError(t, lock(local, unix.F_OFD_SETLK, unix.F_WRLCK, 0, 10))
	require.NoError(t, lock(local, unix.F_OFD_SETLK, unix.F_UNLCK, 0, 10))

	// flock is another kind.
	require.NoError(t, unix.Flock(int(remote.Fd()), unix.LOCK_EX))
	require.ErrorIs(t, unix.Flock(int(local.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EAGAIN)
	second := open(filepath.Join(far, "f"))
	require.ErrorIs(t, unix.Flock(int(second.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EAGAIN)
	remote.Close()
	require.Eventually(t, func() bool { return unix.Flock(int(second.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil }, 10*time.Second, time.Millisecond)
}

// TestInterruptedLock kills a process that waits for a lock.
func TestInterruptedLock(t *testing.T) {
	far, near := pair(t, server.Export{}, client.Options{})
	write(t, filepath.Join(near, "f"), "")
	local, err := os.Open(filepath.Join(near, "f"))
	require.NoError(t, err)
	defer local.Close()
	require.NoError(t, unix.Flock(int(local.Fd()), unix.LOCK_EX))
	cmd := exec.Command("flock", filepath.Join(far, "f"), "true")
	require.NoError(t, cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		t.Fatalf("flock did not wait: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-done:
		var exit *exec.ExitError
		require.True(t, errors.As(err, &exit))
	case <-time.After(10 * time.Second):
		t.Fatal("a process that waits for a lock cannot be killed")
	}
}

// TestTwoClients checks that who opens a file sees what those wrote who closed
// it.
func TestTwoClients(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	near := t.TempDir()
	s := server.New(server.Options{})
	require.NoError(t, s.Add(server.Export{Name: "x", Path: near}))
	open := serve(t, s)
	long := client.Options{Export: "x", AttrTimeout: time.Hour, EntryTimeout: time.Hour}
	_, a := mount(t, open, long)
	_, b := mount(t, open, long)
	for i := range 50 {
		from, to := a, b
		if i%2 == 1 {
			from, to = b, a
		}
		// Longer, shorter, and as long as before.
		want := strings.Repeat(fmt.Sprint(i%10), 5000+(i%3)*3000)
		write(t, filepath.Join(from, "f"), want)
		require.Equal(t, want, read(t, filepath.Join(to, "f")), "round %d", i)
	}
	// Two who append do not overwrite each other.
	for i := range 20 {
		dir := a
		if i%2 == 1 {
			dir = b
		}
		f, err := os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		require.NoError(t, err)
		_, err = fmt.Fprintf(f, "%02d\n", i)
		require.NoError(t, err)
		f.Close()
	}
	require.Len(t, strings.Split(strings.TrimSpace(read(t, filepath.Join(near, "log"))), "\n"), 20)
}

// TestReadAfterChange changes a small file between its open and the first read of it, by another descriptor of the same
// mount. What came with the open is not what is there any more.
func TestReadAfterChange(t *testing.T) {
	far, _ := pair(t, server.Export{}, client.Options{})
	for name, change := range map[string]func(f *os.File) error{
		"write": func(f *os.File) error {
			_, err := f.WriteAt([]byte("new"), 0)
			return err
		},
		"truncate": func(f *os.File) error { return f.Truncate(3) },
		"fallocate": func(f *os.File) error {
			return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 3)
		},
		"copy": func(f *os.File) error {
			from, err := os.CreateTemp(far, "from")
			if err != nil {
				return err
			}
			defer from.Close()
			if _, err := from.WriteString("new"); err != nil {
				return err
			}
			n, err := unix.CopyFileRange(int(from.Fd()), new(int64), int(f.Fd()), new(int64), 3, 0)
			if err == nil && n != 3 {
				err = fmt.Errorf("copied %d bytes", n)
			}
			return err
		},
		"open to write": func(f *os.File) error {
			g, err := os.OpenFile(f.Name(), os.O_WRONLY|os.O_TRUNC, 0)
			if err != nil {
				return err
			}
			_, err = g.WriteString("new")
			return errors.Join(err, g.Close())
		},
		"mapped": func(f *os.File) error {
			m, err := unix.Mmap(int(f.Fd()), 0, 3, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err != nil {
				return err
			}
			copy(m, "new")
			return errors.Join(unix.Msync(m, unix.MS_SYNC), unix.Munmap(m))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(far, strings.ReplaceAll(name, " ", "-"))
			write(t, path, "old content")
			r, err := os.Open(path) // its content comes along
			require.NoError(t, err)
			defer r.Close()
			w, err := os.OpenFile(path, os.O_RDWR, 0)
			require.NoError(t, err)
			defer w.Close()
			require.NoError(t, change(w))
			want := map[string]string{"truncate": "old", "fallocate": "\x00\x00\x00 content", "open to write": "new"}[name]
			if want == "" {
				want = "new content"
			}
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Equal(t, want, string(got))
		})
	}
}

// TestOpenDirAsksNobody opens a directory to reach a file by it, as dockerd does for each step of a copy.
func TestOpenDirAsksNobody(t *testing.T) {
	near := t.TempDir()
	s := server.New(server.Options{})
	require.NoError(t, s.Add(server.Export{Name: "x", Path: near}))
	m, far := mount(t, serve(t, s), client.Options{Export: "x", AttrTimeout: time.Hour, EntryTimeout: time.Hour})
	dir := filepath.Join(far, "dir")
	require.NoError(t, os.Mkdir(dir, 0o755))
	write(t, filepath.Join(dir, "file"), "x")
	stat(t, filepath.Join(dir, "file"))
	require.Eventually(t, func() bool { return m.Stats().Handles == 0 }, time.Minute, time.Millisecond) // closing is not waited for
	before := m.Stats()
	for range 10 {
		d, err := os.OpenFile(dir, unix.O_DIRECTORY|os.O_RDONLY, 0)
		require.NoError(t, err)
		var st unix.Stat_t
		require.NoError(t, unix.Fstatat(int(d.Fd()), "file", &st, unix.AT_SYMLINK_NOFOLLOW))
		require.NoError(t, d.Close())
	}
	require.Equal(t, before.Requests, m.Stats().Requests)
	require.Equal(t, before.Handles, m.Stats().Handles)

	// Who reads it, or has it synced, asks.
	d, err := os.Open(dir)
	require.NoError(t, err)
	defer d.Close()
	require.NoError(t, d.Sync())
	names, err := d.Readdirnames(-1)
	require.NoError(t, err)
	require.Equal(t, []string{"file"}, names)
	require.Equal(t, before.Handles+1, m.Stats().Handles)
}

// TestNoCapabilitiesIsKnown looks files up: for what has no extended attributes nobody asks for its capabilities.
func TestNoCapabilitiesIsKnown(t *testing.T) {
	near := t.TempDir()
	s := server.New(server.Options{})
	require.NoError(t, s.Add(server.Export{Name: "x", Path: near}))
	m, far := mount(t, serve(t, s), client.Options{Export: "x", AttrTimeout: time.Hour, EntryTimeout: time.Hour})
	const name = "security.capability"
	capability := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	for _, f := range []string{"bare", "able"} {
		write(t, filepath.Join(near, f), "x")
	}
	require.NoError(t, unix.Setxattr(filepath.Join(near, "able"), name, capability, 0))
	bare, able := filepath.Join(far, "bare"), filepath.Join(far, "able")
	stat(t, bare)
	stat(t, able)
	before := m.Stats().Requests
	_, err := unix.Getxattr(bare, name, nil)
	require.ErrorIs(t, err, unix.ENODATA)
	require.Equal(t, before, m.Stats().Requests)
	n, err := unix.Getxattr(able, name, nil)
	require.NoError(t, err)
	require.Len(t, capability, n)

	require.NoError(t, unix.Setxattr(bare, name, capability, 0))
	n, err = unix.Getxattr(bare, name, nil)
	require.NoError(t, err)
	require.Len(t, capability, n)
}
