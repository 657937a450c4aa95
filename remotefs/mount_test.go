// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package remotefs_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/client"
	"github.com/container-offload/offload/remotefs/server"
)

// serve answers clients of s on a unix socket and returns how to connect to it.
func serve(t testing.TB, s *server.Server) func(context.Context) (net.Conn, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = s.Serve(ctx, c) }()
		}
	}()
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
}

// mount mounts an export for the time of the test.
func mount(t testing.TB, open func(context.Context) (net.Conn, error), opts client.Options) (*client.FS, string) {
	t.Helper()
	dir := t.TempDir()
	m, err := client.Mount(context.Background(), open, dir, opts)
	require.NoError(t, err)
	t.Cleanup(func() { unmount(t, m) })
	return m, dir
}

func unmount(t testing.TB, m *client.FS) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	require.NoError(t, m.Unmount(ctx))
}

// pair exports a new directory and mounts it; it returns the client's and the
// server's path.
func pair(t testing.TB, e server.Export, opts client.Options) (far, near string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	near = t.TempDir()
	e.Name, e.Path = "x", near
	s := server.New(server.Options{})
	require.NoError(t, s.Add(e))
	opts.Export = "x"
	if opts.Source == "" {
		opts.Source = "host:" + near
	}
	_, far = mount(t, serve(t, s), opts)
	return far, near
}

func TestBasics(t *testing.T) {
	far, near := pair(t, server.Export{CrossMounts: true}, client.Options{})
	data := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	require.NoError(t, os.WriteFile(filepath.Join(far, "big"), data, 0o640))
	got, err := os.ReadFile(filepath.Join(near, "big"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
	got, err = os.ReadFile(filepath.Join(far, "big"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
	st, err := os.Stat(filepath.Join(near, "big"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), st.Mode())

	require.NoError(t, os.MkdirAll(filepath.Join(far, "a/b/c"), 0o755))
	require.NoError(t, os.Symlink("b/c", filepath.Join(far, "a/link")))
	target, err := os.Readlink(filepath.Join(near, "a/link"))
	require.NoError(t, err)
	require.Equal(t, "b/c", target)
	for i := range 1000 {
		require.NoError(t, os.WriteFile(filepath.Join(far, "a/link", fmt.Sprint(i)), []byte("x"), 0o600))
	}
	names, err := os.ReadDir(filepath.Join(far, "a/b/c"))
	require.NoError(t, err)
	require.Len(t, names, 1000)
	require.NoError(t, os.Rename(filepath.Join(far, "a/b"), filepath.Join(far, "z")))
	require.NoError(t, os.Link(filepath.Join(far, "z/c/7"), filepath.Join(far, "seven")))
	require.NoError(t, os.RemoveAll(filepath.Join(far, "z")))
	require.NoError(t, unix.Setxattr(filepath.Join(far, "seven"), "trusted.t", []byte("v"), 0))
	v := make([]byte, 10)
	n, err := unix.Getxattr(filepath.Join(far, "seven"), "trusted.t", v)
	require.NoError(t, err)
	require.Equal(t, "v", string(v[:n]))
	f, err := os.OpenFile(far, os.O_RDWR|unix.O_TMPFILE, 0o600)
	require.NoError(t, err)
	_, err = f.WriteString("tmp")
	require.NoError(t, err)
	require.NoError(t, unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, filepath.Join(far, "linked"), unix.AT_SYMLINK_FOLLOW))
	f.Close()
	got, err = os.ReadFile(filepath.Join(near, "linked"))
	require.NoError(t, err)
	require.Equal(t, "tmp", string(got))
	var stx unix.Statx_t
	require.NoError(t, unix.Statx(unix.AT_FDCWD, filepath.Join(far, "linked"), 0, unix.STATX_BTIME, &stx))
	require.NotZero(t, stx.Mask&unix.STATX_BTIME)
}

func TestAllExports(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	near := t.TempDir()
	hosts := filepath.Join(near, "hosts")
	require.NoError(t, os.WriteFile(hosts, []byte("127.0.0.1"), 0o644))
	s := server.New(server.Options{})
	_, far := mount(t, serve(t, s), client.Options{Source: "dpu:/", Small: true})
	_, err := os.Stat(filepath.Join(far, "0"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, s.Add(server.Export{Name: "0", Path: hosts}))
	require.NoError(t, s.Add(server.Export{Name: "1", Path: near, CrossMounts: true}))
	got, err := os.ReadFile(filepath.Join(far, "0"))
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", string(got))
	names, err := os.ReadDir(far)
	require.NoError(t, err)
	require.Len(t, names, 2)
	bind := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(bind, nil, 0o644))
	require.NoError(t, unix.Mount(filepath.Join(far, "0"), bind, "", unix.MS_BIND, ""))
	got, err = os.ReadFile(bind)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", string(got))
	require.NoError(t, unix.Unmount(bind, 0))
	require.NoError(t, s.Remove("0"))
	_, err = os.Stat(filepath.Join(far, "0"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestConnectionLost cuts the connection below a mount that is in use.
func TestConnectionLost(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	near := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(near, "f"), []byte("x"), 0o644))
	s := server.New(server.Options{})
	require.NoError(t, s.Add(server.Export{Name: "x", Path: near}))
	open := serve(t, s)
	var cut net.Conn
	m, far := mount(t, func(ctx context.Context) (net.Conn, error) {
		c, err := open(ctx)
		cut = c
		return c, err
	}, client.Options{Source: "host:/x,y", Export: "x"})
	table, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.Contains(t, string(table), " / "+far+" rw,relatime")
	require.Contains(t, string(table), " - fuse.remotefs host:/x,y rw")
	f, err := os.Open(filepath.Join(far, "f"))
	require.NoError(t, err)
	defer f.Close()
	cut.Close()
	<-m.Done()
	require.Error(t, m.Err())
	_, err = os.ReadFile(filepath.Join(far, "f"))
	require.ErrorIs(t, err, unix.EIO)
	_, err = os.ReadDir(far)
	require.ErrorIs(t, err, unix.EIO)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	require.NoError(t, m.Unmount(ctx)) // f is in use
	_, err = f.Read(make([]byte, 1))
	require.Error(t, err)
	_, err = os.Stat(filepath.Join(far, "f"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestFileMount mounts an export that is one file.
func TestFileMount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	near := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(near, []byte("one"), 0o644))
	s := server.New(server.Options{})
	require.NoError(t, s.Add(server.Export{Name: "x", Path: near}))
	far := filepath.Join(t.TempDir(), "far")
	open := serve(t, s)
	_, err := client.Mount(context.Background(), open, t.TempDir(), client.Options{Export: "x"})
	require.ErrorIs(t, err, unix.ENOTDIR)
	require.NoError(t, os.WriteFile(far, nil, 0o644))
	m, err := client.Mount(context.Background(), open, far, client.Options{Export: "x", Small: true})
	require.NoError(t, err)
	defer unmount(t, m)
	got, err := os.ReadFile(far)
	require.NoError(t, err)
	require.Equal(t, "one", string(got))
	require.NoError(t, os.WriteFile(far, []byte("three"), 0o644))
	got, err = os.ReadFile(near)
	require.NoError(t, err)
	require.Equal(t, "three", string(got))
}
