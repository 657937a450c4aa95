// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package pathrule

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestLocate(t *testing.T) {
	const tree = "host:/run/offload/tree"
	for _, c := range []struct {
		name  string
		mount mountinfo.Info
		path  string
		host  string
		ro    bool
	}{
		{"local", mountinfo.Info{FSType: "ext4", Source: "/dev/sda", Mountpoint: "/"}, "/etc/hosts", "", false},
		{"local read-only", mountinfo.Info{FSType: "ext4", Mountpoint: "/usr", Options: "ro,relatime"}, "/usr/lib", "", true},
		{"root of the mount", mountinfo.Info{FSType: FSType, Source: tree, Root: "/", Mountpoint: "/run/offload/host"}, "/run/offload/host", "/run/offload/tree", false},
		{"below the mount", mountinfo.Info{FSType: FSType, Source: tree, Root: "/", Mountpoint: "/run/offload/host"}, "/run/offload/host/snapshots/7", "/run/offload/tree/snapshots/7", false},
		{"bind of a part", mountinfo.Info{FSType: FSType, Source: tree, Root: "/snapshots/7", Mountpoint: "/var/lib/docker/rootfs/offload/x"}, "/var/lib/docker/rootfs/offload/x", "/run/offload/tree/snapshots/7", false},
		{"below a bind of a part", mountinfo.Info{FSType: FSType, Source: tree, Root: "/snapshots/7", Mountpoint: "/x"}, "/x/etc/passwd", "/run/offload/tree/snapshots/7/etc/passwd", false},
		{"mounted on the root directory", mountinfo.Info{FSType: FSType, Source: "host:/", Root: "/", Mountpoint: "/"}, "/etc", "/etc", false},
		{"read-only superblock", mountinfo.Info{FSType: FSType, Source: tree, Root: "/", Mountpoint: "/m", VFSOptions: "ro"}, "/m/a", "/run/offload/tree/a", true},
		{"another name for a prefix", mountinfo.Info{FSType: "ext4", Mountpoint: "/"}, "/run/offload/hostile", "", false},
		{"someone else's fuse", mountinfo.Info{FSType: "fuse.sshfs", Source: tree, Root: "/", Mountpoint: "/m"}, "/m/a", "", false},
		{"the DPU's own files", mountinfo.Info{FSType: FSType, Source: "dpu:/", Root: "/", Mountpoint: "/m"}, "/m/a", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := locate(&c.mount, c.path)
			require.NoError(t, err)
			require.Equal(t, c.host, p.Host)
			require.Equal(t, c.ro, p.ReadOnly)
			require.Equal(t, c.path, p.DPU)
		})
	}
}

func TestLocateRefusesARelativeSource(t *testing.T) {
	_, err := locate(&mountinfo.Info{FSType: FSType, Source: "host:etc", Root: "/", Mountpoint: "/m"}, "/m/a")
	require.ErrorContains(t, err, `source "host:etc"`)
}

func TestResolveKindsAndLinks(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Symlink(file, filepath.Join(dir, "link")))
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	require.NoError(t, err)
	defer l.Close()
	for path, want := range map[string]Kind{
		file: File, filepath.Join(dir, "link"): File, dir: Directory,
		filepath.Join(dir, "socket"): Socket, "/dev/null": Device,
	} {
		p, err := Resolve(path)
		require.NoError(t, err)
		require.Equal(t, want, p.Kind, path)
		require.Empty(t, p.Host)
	}
	p, err := Resolve(filepath.Join(dir, "link"))
	require.NoError(t, err)
	require.Equal(t, file, p.DPU)
}

func TestResolveSeesTheTopmostMount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	dir := t.TempDir()
	require.NoError(t, unix.Mount("below", dir, "tmpfs", 0, ""))
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	require.NoError(t, unix.Mount("above", dir, "ramfs", unix.MS_RDONLY, ""))
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	p, err := Resolve(dir)
	require.NoError(t, err)
	require.Equal(t, "ramfs", p.FS)
	require.True(t, p.ReadOnly)
}

func TestResolveErrorsNameThePath(t *testing.T) {
	_, err := Resolve("/no/such/file")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "/no/such/file")
	_, err = Resolve("etc")
	require.ErrorContains(t, err, `"etc"`)
}
