// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package remotefs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/remotefs/client"
	"github.com/container-offload/offload/remotefs/server"
)

// operations are what a program does, and what of an export it needs for that.
var operations = []struct {
	name string
	need server.Operations
	do   func(dir string) error
}{
	{"read", server.OpenFiles | server.ReadFiles, func(d string) error { _, err := os.ReadFile(d + "/file"); return err }},
	{"write", server.OpenFiles | server.WriteFiles, func(d string) error { return appendTo(d+"/file", unix.O_WRONLY) }},
	{"read and write", server.OpenFiles | server.ReadFiles | server.WriteFiles, func(d string) error { return appendTo(d+"/file", unix.O_RDWR) }},
	{"truncate", server.WriteFiles, func(d string) error { return os.Truncate(d+"/file", 1) }},
	{"list", server.ReadDirs, func(d string) error { _, err := os.ReadDir(d); return err }},
	{"mkdir", server.MakeDirs, func(d string) error { return os.Mkdir(d+"/made", 0o755) }},
	{"rmdir", server.RemoveDirs, func(d string) error { return unix.Rmdir(d + "/empty") }},
	{"create", server.Create | server.WriteFiles, func(d string) error { return appendTo(d+"/new", unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL) }},
	{"create without a name", server.Create | server.ReadFiles | server.WriteFiles, func(d string) error { return appendTo(d, unix.O_RDWR|unix.O_TMPFILE) }},
	{"symlink", server.Create, func(d string) error { return os.Symlink("x", d+"/symlink") }},
	{"link", server.Create, func(d string) error { return os.Link(d+"/file", d+"/link") }},
	{"mkfifo", server.Create, func(d string) error { return unix.Mkfifo(d+"/fifo", 0o600) }},
	{"unlink", server.Unlink, func(d string) error { return unix.Unlink(d + "/gone") }},
	{"rename", server.Rename, func(d string) error { return os.Rename(d+"/other", d+"/renamed") }},
	{"chmod", server.SetAttrs, func(d string) error { return os.Chmod(d+"/file", 0o600) }},
	{"chown", server.SetAttrs, func(d string) error { return os.Chown(d+"/file", 1, 2) }},
	{"setxattr", server.SetXattrs, func(d string) error { return unix.Setxattr(d+"/file", "trusted.a", []byte("b"), 0) }},
	{"removexattr", server.SetXattrs, func(d string) error { return unix.Removexattr(d+"/file", "trusted.old") }},
	// Always.
	{"stat", 0, func(d string) error { _, err := os.Stat(d + "/file"); return err }},
	{"readlink", 0, func(d string) error { _, err := os.Readlink(d + "/to"); return err }},
	{"getxattr", 0, func(d string) error { _, err := unix.Getxattr(d+"/to-read", "trusted.old", nil); return err }},
	{"statfs", 0, func(d string) error { return unix.Statfs(d, new(unix.Statfs_t)) }},
}

func appendTo(path string, flags int) error {
	f, err := os.OpenFile(path, flags, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString("x")
	return errors.Join(err, f.Close())
}

// populate makes what the operations need.
func populate(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"file", "gone", "other", "to-read"} {
		write(t, filepath.Join(dir, name), "content")
		require.NoError(t, unix.Setxattr(filepath.Join(dir, name), "trusted.old", []byte("x"), 0))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "empty"), 0o755))
	require.NoError(t, os.Symlink("file", filepath.Join(dir, "to")))
}

// Whatever is taken from an export fails with EPERM there, and nothing else does.
func TestAllowedOperations(t *testing.T) {
	for bit := range 12 {
		without := server.Operations(1<<bit) & server.AllOperations
		t.Run(fmt.Sprintf("without %#x", without), func(t *testing.T) {
			far, near := pair(t, server.Export{Allow: server.AllOperations &^ without}, client.Options{})
			populate(t, near)
			for _, op := range operations {
				err := op.do(far)
				if op.need&without != 0 {
					assert.ErrorIs(t, err, unix.EPERM, op.name)
				} else {
					assert.NoError(t, err, op.name)
				}
			}
		})
	}
}

// Opening with O_CREAT needs no more for a file that is there than without.
func TestAllowedCreateOfExisting(t *testing.T) {
	far, near := pair(t, server.Export{Allow: server.OpenFiles | server.WriteFiles}, client.Options{})
	write(t, filepath.Join(near, "file"), "")
	assert.NoError(t, appendTo(far+"/file", unix.O_WRONLY|unix.O_CREAT))
	assert.ErrorIs(t, appendTo(far+"/new", unix.O_WRONLY|unix.O_CREAT), unix.EPERM)
	assert.ErrorIs(t, appendTo(far+"/file", unix.O_RDWR|unix.O_CREAT), unix.EPERM)
	assert.NoError(t, os.Chtimes(far+"/file", time.Now(), time.Now()), "times come with writing")
	assert.ErrorIs(t, os.Chmod(far+"/file", 0o600), unix.EPERM)
}

func TestParseOperations(t *testing.T) {
	all, err := server.ParseOperations("")
	require.NoError(t, err)
	assert.EqualValues(t, server.AllOperations, all)
	some, err := server.ParseOperations("open, read,setxattr")
	require.NoError(t, err)
	assert.Equal(t, server.OpenFiles|server.ReadFiles|server.SetXattrs, some)
	_, err = server.ParseOperations("open,list")
	assert.ErrorContains(t, err, `"list" is not one of open, read, write`)

	// The configuration knows the same names.
	_, names, _ := strings.Cut(err.Error(), "not one of ")
	names, _, _ = strings.Cut(names, ": ")
	_, err = config.ParseHost("host.toml", []byte("version = 1\nlink.listen = 'unix:///l'\n[[export]]\nname = 'x'\npath = '/x'\nallow = '"+names+"'\n"))
	assert.NoError(t, err)
	_, err = config.ParseHost("host.toml", []byte("version = 1\nlink.listen = 'unix:///l'\n[[export]]\nname = 'x'\npath = '/x'\nallow = 'list'\n"))
	assert.ErrorContains(t, err, `"list" is not one of `+names)
}

// forEverybody lets users other than root reach a test's directory.
func forEverybody(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o777))
}

// Everybody is one user of the server's machine, who has only that user's
// permissions.
func TestSquash(t *testing.T) {
	far, near := pair(t, server.Export{Squash: &server.User{UID: 1000, GID: 1001}}, client.Options{})
	require.NoError(t, os.Chmod(near, 0o777))
	forEverybody(t, far)
	write(t, filepath.Join(near, "readable"), "x")
	for name, mode := range map[string]os.FileMode{"root's": 0o600, "root's-group's": 0o060} {
		write(t, filepath.Join(near, name), "secret")
		require.NoError(t, os.Chmod(filepath.Join(near, name), mode))
		_, err := os.ReadFile(filepath.Join(far, name))
		assert.ErrorIs(t, err, unix.EACCES, name)
		assert.ErrorIs(t, os.Truncate(filepath.Join(far, name), 0), unix.EACCES, name)
	}
	require.NoError(t, os.Mkdir(filepath.Join(near, "closed"), 0o700))
	write(t, filepath.Join(near, "closed/file"), "x")
	_, err := os.Stat(filepath.Join(far, "closed/file"))
	assert.ErrorIs(t, err, unix.EACCES)
	_, err = os.ReadDir(filepath.Join(far, "closed"))
	assert.ErrorIs(t, err, unix.EACCES)
	assert.Equal(t, "x", read(t, filepath.Join(far, "readable")))
	assert.ErrorIs(t, os.Chmod(filepath.Join(far, "readable"), 0o666), unix.EPERM)
	assert.ErrorIs(t, os.Chown(filepath.Join(far, "readable"), 1000, 1000), unix.EPERM)

	write(t, filepath.Join(far, "file"), "mine")
	require.NoError(t, os.Mkdir(filepath.Join(far, "dir"), 0o700))
	require.NoError(t, os.Symlink("file", filepath.Join(far, "symlink")))
	require.NoError(t, unix.Mkfifo(filepath.Join(far, "fifo"), 0o600))
	require.NoError(t, os.Link(filepath.Join(far, "file"), filepath.Join(far, "dir/link")))
	require.NoError(t, appendTo(far, unix.O_RDWR|unix.O_TMPFILE))
	require.NoError(t, os.Chmod(filepath.Join(far, "file"), 0o640))
	out, err := asUser(t, "echo of 1000 > "+far+"/by-user")
	require.NoError(t, err, out)
	for _, name := range []string{"file", "dir", "symlink", "fifo", "dir/link", "by-user"} {
		st := stat(t, filepath.Join(near, name))
		assert.Equal(t, [2]uint32{1000, 1001}, [2]uint32{st.Uid, st.Gid}, name)
	}
	assert.ErrorIs(t, os.Chown(filepath.Join(far, "file"), 0, 0), unix.EPERM)
	assert.ErrorIs(t, unix.Mknod(filepath.Join(far, "device"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), unix.EPERM)
	assert.ErrorIs(t, unix.Setxattr(filepath.Join(far, "file"), "trusted.a", []byte("b"), 0), unix.EPERM)
	names, err := os.ReadDir(far)
	require.NoError(t, err)
	assert.Len(t, names, 9)

	// The server itself is who it was.
	far, near = pair(t, server.Export{}, client.Options{})
	for i := range 50 {
		name := fmt.Sprint(i)
		write(t, filepath.Join(far, name), "x")
		assert.Zero(t, stat(t, filepath.Join(near, name)).Uid)
		require.NoError(t, os.Chown(filepath.Join(far, name), 5, 5))
	}
}

// The ids of the client's side are others on the server's, and nobody's if they
// are in no range.
func TestMappedIDs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	near := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", near, "tmpfs", 0, "mode=777"))
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(near, unix.MNT_DETACH)) })
	write(t, filepath.Join(near, "root's"), "secret")
	require.NoError(t, os.Chown(near, 100000, 200000))
	s := server.New(server.Options{})
	ids := func(first uint32) []server.IDRange { return []server.IDRange{{Client: 0, Server: first, Count: 2000}} }
	require.NoError(t, s.Add(server.Export{Name: "x", Path: near, UIDs: ids(100000), GIDs: ids(200000)}))
	_, far := mount(t, serve(t, s), client.Options{Export: "x"})

	owner := func(path string) [2]uint32 {
		st := stat(t, path)
		return [2]uint32{st.Uid, st.Gid}
	}
	assert.Equal(t, [2]uint32{0, 0}, owner(far))
	assert.Equal(t, [2]uint32{65534, 65534}, owner(filepath.Join(far, "root's")))
	write(t, filepath.Join(far, "file"), "x")
	assert.Equal(t, [2]uint32{100000, 200000}, owner(filepath.Join(near, "file")))
	assert.Equal(t, [2]uint32{0, 0}, owner(filepath.Join(far, "file")))
	require.NoError(t, os.Chown(filepath.Join(far, "file"), 33, 44))
	assert.Equal(t, [2]uint32{100033, 200044}, owner(filepath.Join(near, "file")))
	forEverybody(t, far)
	out, err := asUser(t, "mkdir "+far+"/dir && echo x > "+far+"/dir/by-user")
	require.NoError(t, err, out)
	assert.Equal(t, [2]uint32{101000, 201000}, owner(filepath.Join(near, "dir/by-user")))
	assert.Error(t, os.Chown(filepath.Join(far, "file"), 2000, 0), "no id of the server")
	assert.Error(t, os.Chown(filepath.Join(far, "root's"), 0, 0), "not the client's to give away")
	_, err = os.ReadFile(filepath.Join(far, "root's"))
	assert.NoError(t, err, "its mode lets everybody read it")
	require.NoError(t, os.Chmod(filepath.Join(near, "root's"), 0o600))
	_, err = os.ReadFile(filepath.Join(far, "root's"))
	assert.ErrorIs(t, err, unix.EACCES, "the client's root is no root there")

	assert.ErrorContains(t, s.Add(server.Export{Name: "y", Path: near, UIDs: ids(1)}), "users and groups")
	assert.ErrorContains(t, s.Add(server.Export{Name: "y", Path: near, UIDs: ids(1), GIDs: ids(1), CrossMounts: true}), "one mount")
	assert.ErrorContains(t, s.Add(server.Export{Name: "y", Path: "/proc", UIDs: ids(1), GIDs: ids(1)}), "map ids on this file system")
}
