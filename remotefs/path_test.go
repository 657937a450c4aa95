// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package remotefs_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/client"
	"github.com/container-offload/offload/remotefs/server"
)

// A client may ask for an export by its path, and for what is below it.
func TestMountByPath(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	near := t.TempDir()
	long := strings.Repeat("d", 200)
	require.NoError(t, os.MkdirAll(filepath.Join(near, "out/in", long, long), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(near, "outside"), 0o755))
	write(t, filepath.Join(near, "out/in/file"), "inner")
	write(t, filepath.Join(near, "out/in", long, long, "file"), "deep")
	write(t, filepath.Join(near, "outside/file"), "secret")
	require.NoError(t, os.Symlink("in", filepath.Join(near, "out/link")))
	require.NoError(t, os.Symlink("../outside", filepath.Join(near, "out/leads-out")))
	require.NoError(t, os.Symlink(filepath.Join(near, "outside"), filepath.Join(near, "out/leads-out-too")))
	require.NoError(t, os.Mkdir(filepath.Join(near, "out/covered"), 0o755))
	require.NoError(t, unix.Mount("tmpfs", filepath.Join(near, "out/covered"), "tmpfs", 0, ""))
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(filepath.Join(near, "out/covered"), unix.MNT_DETACH)) })
	require.NoError(t, os.Mkdir(filepath.Join(near, "out/covered/sub"), 0o755))
	s := server.New(server.Options{})
	require.NoError(t, s.Add(server.Export{Name: "out", Path: near + "/out"}))
	require.NoError(t, s.Add(server.Export{Name: "in", Path: near + "/out/in/", ReadOnly: true}))
	open := serve(t, s)

	for path, file := range map[string]string{
		"/out": "in/file", "/out/link": "file", "/out/in": "file", "/out//./in/": "file",
		"/out/in/" + long: long + "/file", "/out/in/" + long + "/" + long: "file",
	} {
		m, far := mount(t, open, client.Options{Export: near + path})
		assert.FileExists(t, filepath.Join(far, file), path)
		_, err := os.Stat(filepath.Join(far, "..", "outside"))
		assert.ErrorIs(t, err, os.ErrNotExist)
		unmount(t, m)
	}
	_, far := mount(t, open, client.Options{Export: near + "/out/in"})
	assert.ErrorIs(t, os.WriteFile(filepath.Join(far, "new"), nil, 0o644), unix.EROFS, "the innermost export counts")

	for path, want := range map[string]error{
		"/": unix.ENOENT, "/outside": unix.ENOENT, "/out/../outside": unix.ENOENT, "/out/leads-out": unix.EXDEV,
		"/out/leads-out-too": unix.EXDEV, "/output": unix.ENOENT, "/out/nothing": unix.ENOENT, "/out/covered/sub": unix.ENOENT,
	} {
		_, err := client.Mount(context.Background(), open, t.TempDir(), client.Options{Export: near + path})
		assert.ErrorIs(t, err, want, path)
	}
	require.NoError(t, s.Remove("in"))
	_, err := os.ReadFile(filepath.Join(far, "file"))
	assert.ErrorIs(t, err, unix.ESTALE)
}

// A part of an export that is mounted shows its own root only.
func TestMountedPartHasNoParent(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	near := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(near, "part"), 0o755))
	write(t, filepath.Join(near, "part/file"), "x")
	s := server.New(server.Options{})
	require.NoError(t, s.Add(server.Export{Name: "x", Path: near}))
	c := dialRaw(t, serve(t, s), near+"/part")
	for _, name := range []string{"..", ".", "../part", "/", ""} {
		_, errno := c.lookup(c.root.Node, name)
		assert.NotZero(t, errno, name)
	}
	_, errno := c.lookup(c.root.Node, "file")
	assert.Zero(t, errno)
}
