// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDefaults(t *testing.T) {
	c, err := ParseDPU("f", []byte(dpuUnix))
	require.NoError(t, err)
	want := DefaultDPU()
	want.Link.Address = "unix:///run/l.sock"
	assert.Equal(t, want, c)

	h, err := ParseHost("f", []byte(hostUnix))
	require.NoError(t, err)
	wantHost := DefaultHost()
	wantHost.Link.Listen = "unix:///run/l.sock"
	assert.Equal(t, wantHost, h)
}

func TestEveryKey(t *testing.T) {
	c, err := ParseDPU("f", []byte(`
version = 1
[link]
address = "tcp://[2001:db8::2]:7400"
connect_timeout = "1m30s"
resume_timeout = "90s"
tls = {ca = "/a", cert = "/c", key = "/k"}
[containerd]
address = "/c.sock"
[plugins]
socket = "/p.sock"
[remotefs]
tree = "/tree"
mountpoint = "/host"
[state]
dir = "/state"
[network]
carrier = "vxlan"
[log]
level = "debug"
format = "json"
[metrics]
listen = "127.0.0.1:9120"
[rexec]
socket = "/r.sock"
allow = "/allow"
[[mount]]
export = "data"
path = "/d"
mountpoint = "/m"
read_only = true
options = "nosuid,cache=none"
`))
	require.NoError(t, err)
	assert.Equal(t, &DPU{
		Version: 1,
		Link: DPULink{
			Address: "tcp://[2001:db8::2]:7400", ConnectTimeout: Duration(90 * time.Second),
			ResumeTimeout: Duration(90 * time.Second), TLS: TLS{CA: "/a", Cert: "/c", Key: "/k"},
		},
		Containerd: Containerd{Address: "/c.sock"},
		Plugins:    Plugins{Socket: "/p.sock"},
		RemoteFS:   RemoteFS{Tree: "/tree", Mountpoint: "/host"},
		State:      State{Dir: "/state"},
		Network:    Network{Carrier: "vxlan"},
		Log:        Log{Level: "debug", Format: "json"},
		Metrics:    Metrics{Listen: "127.0.0.1:9120"},
		Rexec:      Rexec{Socket: "/r.sock", Allow: "/allow"},
		Mounts:     []Mount{{Export: "data", Path: "/d", Mountpoint: "/m", ReadOnly: true, Options: "nosuid,cache=none"}},
	}, c)

	h, err := ParseHost("f", []byte(`
version = 1
export = [{name = "a", path = "/a"}, {name = "b", path = "/b", read_only = true, allow = "open", squash = "1:2"}, {name = "c", path = "/c", uid_map = "0:1:2", gid_map = "3:4:5", one_file_system = true}]
[link]
listen = "vsock://3:7400"
peer_cid = 0x2
resume_timeout = "1h"
[store]
root = "/root"
tree = "/tree"
[shim]
binary = "/shim"
runc = "/runc"
warm = 0
state = "/shims"
[state]
dir = "/state"
[log]
level = "error"
[metrics]
listen = "[::1]:9120"
[rexec]
socket = "/r.sock"
allow = "/allow"
[views]
enabled = false
`))
	require.NoError(t, err)
	assert.Equal(t, &Host{
		Version: 1,
		Link:    HostLink{Listen: "vsock://3:7400", PeerCID: 2, ResumeTimeout: Duration(time.Hour)},
		Store:   Store{Root: "/root", Tree: "/tree"},
		Shim:    Shim{Binary: "/shim", Runc: "/runc", State: "/shims"},
		State:   State{Dir: "/state"},
		Network: Network{Carrier: "tunnel"},
		Log:     Log{Level: "error", Format: "text"},
		Metrics: Metrics{Listen: "[::1]:9120"},
		Rexec:   Rexec{Socket: "/r.sock", Allow: "/allow"},
		Exports: []Export{{Name: "a", Path: "/a"}, {Name: "b", Path: "/b", ReadOnly: true, Allow: "open", Squash: "1:2"}, {Name: "c", Path: "/c", UIDMap: "0:1:2", GIDMap: "3:4:5", OneFileSystem: true}},
	}, h)

	same, err := ParseHost("f", []byte(hostUnix+"[[export]]\nname = 'a'\npath = '/a'\n[[export]]\nname = 'b'\npath = '/b'\nread_only = true\nallow = 'open'\nsquash = '1:2'\n[[export]]\nname = 'c'\npath = '/c'\nuid_map = '0:1:2'\ngid_map = '3:4:5'\none_file_system = true\n"))
	require.NoError(t, err)
	assert.Equal(t, h.Exports, same.Exports)
}

func TestPathFromEnv(t *testing.T) {
	t.Setenv(PathEnv, "")
	assert.Equal(t, DefaultDPUPath, PathFromEnv(DefaultDPUPath))
	t.Setenv(PathEnv, "/elsewhere")
	assert.Equal(t, "/elsewhere", PathFromEnv(DefaultDPUPath))
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"5s": 5 * time.Second, "5m": 5 * time.Minute, "24h": 24 * time.Hour, "1h30m": 90 * time.Minute,
		"1h0m10s": 3610 * time.Second, "100ms": 100 * time.Millisecond, "0s": 0,
	} {
		var d Duration
		require.NoError(t, d.UnmarshalText([]byte(text)))
		assert.Equal(t, want, d.Duration())
		out, err := d.MarshalText()
		require.NoError(t, err)
		assert.Equal(t, text, string(out))
	}
}

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	log := Log{Level: "info", Format: "json"}.Logger(&out)
	log.Debug("unimportant")
	log.Info("hello", "n", 1)
	assert.Regexp(t, `^{"time":"[^"]+","level":"INFO","msg":"hello","n":1}\n$`, out.String())

	out.Reset()
	log = defaultLog().Logger(&out)
	log.Info("unimportant")
	log.Warn("careful")
	assert.Regexp(t, `^time=\S+ level=WARN msg=careful\n$`, out.String())
	assert.False(t, log.Enabled(t.Context(), slog.LevelInfo))
}

// program makes an empty program of the given name.
func program(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, nil, 0o700))
	return path
}

func TestLocate(t *testing.T) {
	dir := t.TempDir()
	named := program(t, dir, "shim")
	inPath := program(t, dir, ShimName)
	t.Setenv("PATH", "/nowhere")

	got, err := Shim{Binary: named}.Locate()
	require.NoError(t, err)
	assert.Equal(t, named, got)

	_, err = Shim{Binary: dir + "/gone"}.Locate()
	assert.ErrorContains(t, err, "find the shim that shim.binary names: ")
	assert.ErrorContains(t, err, dir+"/gone")

	_, err = Shim{}.Locate()
	assert.ErrorContains(t, err, ShimName)

	t.Setenv("PATH", dir)
	got, err = Shim{}.Locate()
	require.NoError(t, err)
	assert.Equal(t, inPath, got)

	self, err := os.Executable()
	require.NoError(t, err)
	beside := program(t, filepath.Dir(self), ShimName)
	t.Cleanup(func() { os.Remove(beside) })
	got, err = Shim{}.Locate()
	require.NoError(t, err)
	assert.Equal(t, beside, got, "the one beside this program goes before the one in PATH")
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dpu.toml")
	require.NoError(t, os.WriteFile(path, []byte(dpuTCP), 0o600))
	c, err := LoadDPU(path)
	require.NoError(t, err)
	assert.True(t, c.Link.Insecure)
	_, err = LoadHost(path)
	assert.EqualError(t, err, path+":2:6: unknown key link.address here, it belongs in dpu.toml")
}
