// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/wire"
)

func TestAllowed(t *testing.T) {
	rules := []Serve{{Path: "/run/app"}, {Path: "/run/app/own", As: Nobody}, {Path: "/run/one.sock"}, {Path: "@name"}}
	for _, c := range []struct {
		path, rule, rel string
		ok              bool
	}{
		{"/run/app/s", "/run/app", "s", true},
		{"/run/app/a/b", "/run/app", "a/b", true},
		{"/run/app", "/run/app", "", true},
		{"/run/app/own/s", "/run/app/own", "s", true},
		{"/run/application", "", "", false},
		{"/run/one.sock", "/run/one.sock", "", true},
		{"/run/one.sock2", "", "", false},
		{"/run", "", "", false},
		{"@name", "@name", "", true},
		{"@name/s", "", "", false},
		{"@names", "", "", false},
	} {
		rule, rel, ok := Allowed(rules, c.path)
		assert.Equal(t, c.ok, ok, c.path)
		assert.Equal(t, c.rule, rule.Path, c.path)
		assert.Equal(t, c.rel, rel, c.path)
	}
	_, _, ok := Allowed(nil, "/run/app/s")
	assert.False(t, ok, "without rules nothing is allowed")
}

func TestValidate(t *testing.T) {
	mirror := func(path, peer string) Connect { return Connect{Path: path, PeerPath: peer, Technique: Mirror} }
	for _, c := range []struct {
		name    string
		connect []Connect
		serve   []Serve
		want    string
	}{
		{"good", []Connect{mirror("/a", ""), mirror("/b", "/c"), mirror("@x", "")}, []Serve{{Path: "/c"}}, ""},
		{"relative", []Connect{mirror("a", "")}, nil, `path "a" is neither`},
		{"unclean", []Connect{mirror("/a/", "")}, nil, `path "/a/" is neither`},
		{"everything", []Connect{mirror("/", "")}, nil, "all of / can't be bridged"},
		{"everything there", []Connect{mirror("/a", "/")}, nil, "all of / can't be bridged"},
		{"half abstract", []Connect{mirror("@a", "/a")}, nil, "either both are abstract"},
		{"technique", []Connect{{Path: "/a", Technique: "magic"}}, nil, `technique "magic" is neither`},
		{"hooked abstract", []Connect{{Path: "@a", Technique: Hook}}, nil, "is mirrored, not hooked"},
		{"overlap", []Connect{mirror("/a", ""), mirror("/a/b", "")}, nil, "/a and /a/b overlap"},
		{"circle", []Connect{mirror("/a/b", "")}, []Serve{{Path: "/a"}}, "they overlap"},
		{"serve everything", nil, []Serve{{Path: "/"}}, "all of / can't be bridged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Validate(c.connect, c.serve)
			if c.want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, c.want)
			}
		})
	}
}

func TestIdentity(t *testing.T) {
	who := wire.Credentials{PID: 3, UID: 1000, GID: 100, Groups: []uint32{27}}
	same, err := ParseIdentity("same")
	require.NoError(t, err)
	got, err := same.Map(who)
	require.NoError(t, err)
	assert.Equal(t, who, got)
	fixed, err := ParseIdentity("5:6")
	require.NoError(t, err)
	got, err = fixed.Map(who)
	require.NoError(t, err)
	assert.Equal(t, wire.Credentials{UID: 5, GID: 6, Groups: []uint32{6}}, got)
	for _, s := range []string{"", "root", "1", "1:", ":1", "1:x", "-1:0", "4294967295:0", "0:4294967295"} {
		_, err := ParseIdentity(s)
		assert.Error(t, err, s)
	}
	// To the kernel (uid_t)-1 would mean to stay root.
	_, err = same.Map(wire.Credentials{UID: 1<<32 - 1})
	assert.Error(t, err)
	_, err = same.Map(wire.Credentials{Groups: []uint32{1<<32 - 1}})
	assert.Error(t, err)
}

func TestTransfer(t *testing.T) {
	dirs := []string{"/srv"}
	for _, c := range []struct {
		name  string
		facts Facts
		want  wire.File
		err   string
	}{
		{"end of a pipe to read", Facts{Mode: unix.S_IFIFO | 0o600}, wire.File{Kind: wire.FilePipe, Read: true}, ""},
		{"end of a pipe to write", Facts{Mode: unix.S_IFIFO, Flags: unix.O_WRONLY | unix.O_NONBLOCK}, wire.File{Kind: wire.FilePipe, Write: true, NonBlock: true}, ""},
		{"FIFO both ways", Facts{Mode: unix.S_IFIFO, Flags: unix.O_RDWR}, wire.File{}, "both reading and writing"},
		{"unix socket", Facts{Mode: unix.S_IFSOCK, Domain: unix.AF_UNIX, Type: unix.SOCK_SEQPACKET, Connected: true, Flags: unix.O_RDWR}, wire.File{Kind: wire.FileSocket, Socket: wire.SeqPacket, Read: true, Write: true}, ""},
		{"TCP", Facts{Mode: unix.S_IFSOCK, Domain: unix.AF_INET6, Type: unix.SOCK_STREAM, Connected: true, Flags: unix.O_RDWR}, wire.File{Kind: wire.FileSocket, Socket: wire.Stream, Read: true, Write: true}, ""},
		{"UDP", Facts{Mode: unix.S_IFSOCK, Domain: unix.AF_INET, Type: unix.SOCK_DGRAM, Connected: true}, wire.File{}, "only stream sockets"},
		{"listener", Facts{Mode: unix.S_IFSOCK, Domain: unix.AF_UNIX, Type: unix.SOCK_STREAM, Listening: true}, wire.File{}, "listening"},
		{"unconnected", Facts{Mode: unix.S_IFSOCK, Domain: unix.AF_UNIX, Type: unix.SOCK_STREAM}, wire.File{}, "not connected"},
		{"the peer's own file", Facts{Mode: unix.S_IFREG | 0o644, PeerPath: "/srv/f", Links: 1, Offset: 7, Flags: unix.O_RDWR}, wire.File{Kind: wire.FilePath, Path: "/srv/f", Offset: 7, Read: true, Write: true}, ""},
		{"the peer's own, but not of its directories", Facts{Mode: unix.S_IFREG | 0o644, PeerPath: "/etc/f", Links: 1, Name: "/m/f"}, wire.File{Kind: wire.FileServed, Path: "f", Mode: 0o644, Read: true}, ""},
		{"the peer's own, but removed", Facts{Mode: unix.S_IFREG, PeerPath: "/srv/f", Name: "/m/f (deleted)"}, wire.File{Kind: wire.FileServed, Path: "f", Read: true}, ""},
		{"file", Facts{Mode: unix.S_IFREG | 0o600, Name: "/home/f", Links: 1, Size: 9, Flags: unix.O_WRONLY | unix.O_APPEND}, wire.File{Kind: wire.FileServed, Path: "f", Mode: 0o600, Size: 9, Write: true, Append: true}, ""},
		{"directory", Facts{Mode: unix.S_IFDIR, Name: "/home", Links: 2}, wire.File{Kind: wire.FileServed, Path: "home", Read: true, Directory: true}, ""},
		{"O_PATH", Facts{Mode: unix.S_IFDIR, Name: "/home", Flags: unix.O_PATH}, wire.File{}, "O_PATH"},
		{"the peer's own by O_PATH", Facts{Mode: unix.S_IFDIR, PeerPath: "/srv", Links: 2, Flags: unix.O_PATH}, wire.File{Kind: wire.FilePath, Path: "/srv", Directory: true, PathOnly: true}, ""},
		{"sealed memfd", Facts{Mode: unix.S_IFREG, Name: "/memfd:x (deleted)", HasSeals: true, Seals: unix.F_SEAL_WRITE, Size: 5, Flags: unix.O_RDWR}, wire.File{Kind: wire.FileContent, Path: "memfd:x", Size: 5, Read: true, Write: true}, ""},
		{"large sealed memfd", Facts{Mode: unix.S_IFREG, Name: "/memfd:x", HasSeals: true, Seals: unix.F_SEAL_WRITE, Size: MaxContent + 1}, wire.File{Kind: wire.FileServed, Path: "memfd:x", Size: MaxContent + 1, Read: true}, ""},
		{"null", Facts{Mode: unix.S_IFCHR, Device: unix.Mkdev(1, 3), Flags: unix.O_WRONLY}, wire.File{Kind: wire.FileDevice, Path: "/dev/null", Write: true}, ""},
		{"terminal", Facts{Mode: unix.S_IFCHR, Device: unix.Mkdev(136, 0), Terminal: true, Flags: unix.O_RDWR}, wire.File{Kind: wire.FileTerminal, Read: true, Write: true}, ""},
		{"device", Facts{Mode: unix.S_IFCHR, Device: unix.Mkdev(10, 232), Name: "/dev/kvm"}, wire.File{}, "descriptor of /dev/kvm can't be passed to the peer: it is a device of its own machine"},
		{"disk", Facts{Mode: unix.S_IFBLK}, wire.File{}, "block device"},
		{"eventfd", Facts{Name: "anon_inode:[eventfd]", Flags: unix.O_RDWR, Offset: 3, Semaphore: true}, wire.File{Kind: wire.FileEvent, Offset: 3, Semaphore: true, Read: true, Write: true}, ""},
		{"timer", Facts{Name: "anon_inode:[timerfd]"}, wire.File{}, "on its own machine only"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Transfer(c.facts, dirs)
			if c.err != "" {
				var unpassable *UnpassableError
				require.ErrorAs(t, err, &unpassable)
				assert.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

func TestPeerPath(t *testing.T) {
	for _, c := range []struct{ path, source, root, mountpoint, want string }{
		{"/run/offload/host/a/b", "host:/run/offload/tree", "/", "/run/offload/host", "/run/offload/tree/a/b"},
		{"/mnt/b", "host:/run/offload/tree", "/a", "/mnt", "/run/offload/tree/a/b"},
		{"/mnt", "host:/f", "/", "/mnt", "/f"},
		{"/mnt2/b", "host:/f", "/", "/mnt", ""},
		{"/mnt/b", "passed", "/", "/mnt", ""},
		{"/mnt/b", "peer:passed", "/", "/mnt", ""},
	} {
		assert.Equal(t, c.want, PeerPath(c.path, c.source, c.root, c.mountpoint), c.path)
	}
}
