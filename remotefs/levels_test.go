// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package remotefs_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/client"
	"github.com/container-offload/offload/remotefs/server"
)

// On the upper levels of such a mount there is nothing but directories, whatever the
// server shows and whenever; below them all is as ever.
func TestDirectoriesOnly(t *testing.T) {
	far, near := pair(t, server.Export{}, client.Options{Directories: 2, EntryTimeout: -1, AttrTimeout: -1})
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "secret")
	require.NoError(t, os.MkdirAll(near+"/snapshots/7/etc", 0o755))
	write(t, near+"/snapshots/7/etc/file", "content")
	require.NoError(t, os.Symlink("etc/file", near+"/snapshots/7/link"))
	require.NoError(t, os.Symlink(filepath.Dir(secret), near+"/link"))
	require.NoError(t, os.Symlink(filepath.Dir(secret), near+"/snapshots/8"))
	write(t, near+"/snapshots/9", "content")

	for _, name := range []string{"link", "link/secret", "snapshots/8", "snapshots/8/secret", "snapshots/9"} {
		_, err := os.Lstat(filepath.Join(far, name))
		assert.ErrorIs(t, err, unix.EIO, name)
	}
	assert.ErrorIs(t, os.Symlink("x", far+"/snapshots/new"), unix.EIO)
	require.NoError(t, os.Remove(near+"/snapshots/new"))
	assert.ErrorIs(t, os.Rename(far+"/snapshots/7/link", far+"/snapshots/new"), unix.EXDEV)
	entries, err := os.ReadDir(far + "/snapshots")
	require.NoError(t, err)
	assert.Len(t, entries, 3, "they are listed all the same")
	_, err = os.Lstat(far + "/snapshots/8")
	assert.ErrorIs(t, err, unix.EIO, "after listing")

	// What was a directory becomes a link.
	_, err = os.Lstat(far + "/snapshots/7")
	require.NoError(t, err)
	require.NoError(t, os.Rename(near+"/snapshots/7", near+"/seven"))
	require.NoError(t, os.Symlink(filepath.Dir(secret), near+"/snapshots/7"))
	_, err = os.Stat(far + "/snapshots/7/secret")
	assert.ErrorIs(t, err, unix.EIO)
	require.NoError(t, os.Remove(near+"/snapshots/7"))
	require.NoError(t, os.Rename(near+"/seven", near+"/snapshots/7"))

	assert.Equal(t, "content", read(t, far+"/snapshots/7/link"))
	write(t, far+"/snapshots/7/new", "new")
	require.NoError(t, os.Mkdir(far+"/snapshots/made", 0o755))
	require.NoError(t, os.Symlink("../7/new", far+"/snapshots/made/link"))
	assert.Equal(t, "new", read(t, far+"/snapshots/made/link"))
	require.NoError(t, os.Rename(far+"/snapshots/7/new", far+"/snapshots/made/renamed"))
	require.NoError(t, os.Chtimes(far+"/snapshots", time.Now(), time.Now()))
	require.NoError(t, os.RemoveAll(far+"/snapshots/made"))
	require.NoDirExists(t, near+"/snapshots/made")
}
