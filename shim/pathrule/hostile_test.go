// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package pathrule

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/client"
	"github.com/container-offload/offload/remotefs/server"
)

// hostMount mounts a new directory of a HOST, and returns it as the DPU and as the
// HOST has it.
func hostMount(t *testing.T) (dpu, host string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	dpu, host = t.TempDir(), t.TempDir()
	s := server.New(server.Options{})
	require.NoError(t, s.Add(server.Export{Name: "x", Path: host}))
	open := func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() { _ = s.Serve(context.Background(), theirs) }()
		return ours, nil
	}
	m, err := client.Mount(t.Context(), open, dpu, client.Options{Source: "host:/data", Export: "x"})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, m.Unmount(ctx))
	})
	return dpu, host
}

// TestTheHostLeadsNowhere holds that no symbolic link of the HOST leads to a file of
// the DPU, whoever else's links are on the way.
func TestTheHostLeadsNowhere(t *testing.T) {
	dpu, host := hostMount(t)
	local := t.TempDir()
	secret := filepath.Join(local, "secret")
	require.NoError(t, os.WriteFile(secret, nil, 0o600))
	up, err := filepath.Rel(dpu, secret)
	require.NoError(t, err)
	fromMount := strings.TrimPrefix(up, "../")
	require.NoError(t, os.MkdirAll(filepath.Join(host, "dir", "deeper"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(host, "dir", "file"), nil, 0o600))
	for name, target := range map[string]string{
		"absolute": secret, "parent": local, "root": "/", "up": up, "proc": "/proc/self/root" + secret,
		"device": "/dev/null", "twice": "absolute", "back": local + "/to-the-host/parent/secret", "loop": "loop",
		"inside": "dir/deeper/../file", "whole": filepath.Join(dpu, "dir", "file"), "gone": "nothing",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(host, name)))
	}
	require.NoError(t, os.Symlink(dpu, filepath.Join(local, "to-the-host")))
	require.NoError(t, os.Symlink(filepath.Join(dpu, "absolute"), filepath.Join(local, "by-the-host")))
	require.NoError(t, os.Symlink("to-the-host/dir", filepath.Join(local, "to-dir")))
	require.NoError(t, os.Symlink("secret", filepath.Join(local, "to-secret")))

	for _, p := range []string{
		dpu + "/absolute", dpu + "/parent", dpu + "/parent/secret", dpu + "/root" + secret, dpu + "/up", dpu + "/proc",
		dpu + "/device", dpu + "/twice", dpu + "/back", local + "/to-the-host/parent/secret", local + "/by-the-host",
		// Where ".." leads depends on what the HOST says.
		dpu + "/dir/../../" + fromMount, dpu + "/dir/deeper/../../" + up,
	} {
		place, err := Resolve(p)
		require.Error(t, err, "%s is %+v", p, place)
		require.ErrorIs(t, err, ErrLeavesHost, p)
	}
	for p, want := range map[string]string{
		dpu: "/data", dpu + "/dir/": "/data/dir", dpu + "/inside": "/data/dir/file", dpu + "/whole": "/data/dir/file",
		local + "/to-dir/file": "/data/dir/file", dpu + "/dir/../dir/file": "/data/dir/file",
		local + "/to-the-host/dir": "/data/dir", local + "/to-secret": "", local + "/../" + filepath.Base(local) + "/secret": "",
		"/proc/self/root" + local + "/to-dir/file": "/data/dir/file", "/proc/self/root" + secret: "",
	} {
		place, err := Resolve(p)
		require.NoError(t, err, p)
		require.Equal(t, want, place.Host, p)
		if want == "" {
			require.Equal(t, secret, place.DPU, p)
		}
		require.NoError(t, place.Close())
	}
	_, err = Resolve(dpu + "/loop")
	require.ErrorIs(t, err, unix.ELOOP)
	_, err = Resolve(dpu + "/gone")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestResolvePinsTheFile holds that a place stays what it is when its name becomes
// another's.
func TestResolvePinsTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(path, []byte("first"), 0o600))
	place, err := Resolve(path)
	require.NoError(t, err)
	defer place.Close()
	require.NoError(t, os.Rename(path, path+"1"))
	require.NoError(t, os.Symlink("/etc/passwd", path))
	s := server.New(server.Options{})
	require.NoError(t, s.Add(server.Export{Name: "x", Path: place.DPU, File: place.File, CrossMounts: true}))
	var st unix.Stat_t
	require.NoError(t, unix.Stat(path+"1", &st))
	require.Equal(t, st.Ino, place.Ino)
}

// TestResolveHeedsProtectedLinks holds that a link is not followed which the kernel
// would not follow.
func TestResolveHeedsProtectedLinks(t *testing.T) {
	const setting = "/proc/sys/fs/protected_symlinks"
	was, err := os.ReadFile(setting)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(setting, []byte("1"), 0))
	defer func() { require.NoError(t, os.WriteFile(setting, was, 0)) }()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777|os.ModeSticky))
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink("/etc/passwd", link))
	require.NoError(t, os.Lchown(link, 1234, 1234))
	_, err = Resolve(link)
	require.ErrorIs(t, err, os.ErrPermission)
}
