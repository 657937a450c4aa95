// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"reflect"
	"time"
)

// DPU is the configuration of everything that runs on the DPU. It is not
// changed once loaded and may be shared.
type DPU struct {
	// Version is the version of the file's form, [Version].
	Version    int        `toml:"version"`
	Link       DPULink    `toml:"link"`
	Containerd Containerd `toml:"containerd"`
	Plugins    Plugins    `toml:"plugins"`
	RemoteFS   RemoteFS   `toml:"remotefs"`
	State      State      `toml:"state"`
	Log        Log        `toml:"log"`
}

// DPULink says how the DPU reaches its HOST.
type DPULink struct {
	// Address is the HOST agent's address: tcp://HOST:PORT, vsock://CID:PORT or
	// unix:///PATH. It has no default.
	Address string `toml:"address"`
	// Insecure allows tcp without TLS: whoever can reach the port rules the
	// HOST, and whoever sits between rules both.
	Insecure bool `toml:"insecure"`
	// ConnectTimeout bounds one attempt to connect, from 100 ms to 5 min.
	ConnectTimeout Duration `toml:"connect_timeout"`
	// ResumeTimeout is how long a session survives without a connection, from
	// 1 s to 24 h.
	ResumeTimeout Duration `toml:"resume_timeout"`
	TLS           TLS      `toml:"tls"`
}

// Containerd says where the DPU's containerd is.
type Containerd struct {
	// Address is the path of its gRPC socket.
	Address string `toml:"address"`
}

// Plugins says where containerd finds the snapshotter and the differ.
type Plugins struct {
	// Socket is the path of the socket they are served on. containerd's
	// proxy_plugins must name the same.
	Socket string `toml:"socket"`
}

// RemoteFS says where the HOST's snapshots appear.
type RemoteFS struct {
	// Tree is the directory of the HOST that is mounted, its store.tree.
	Tree string `toml:"tree"`
	// Mountpoint is the directory they are mounted on; it is made if need be.
	Mountpoint string `toml:"mountpoint"`
}

// State says where a daemon keeps what must outlive it but not a reboot.
type State struct {
	// Dir is the directory; it is made if need be.
	Dir string `toml:"dir"`
}

// DefaultDPU returns the configuration that an empty file stands for, but for
// link.address, which every file must give.
func DefaultDPU() *DPU {
	return &DPU{
		Version: Version,
		Link: DPULink{
			ConnectTimeout: Duration(5 * time.Second),
			ResumeTimeout:  defaultResumeTimeout,
		},
		Containerd: Containerd{Address: "/run/containerd/containerd.sock"},
		Plugins:    Plugins{Socket: "/run/offload/plugins.sock"},
		RemoteFS:   RemoteFS{Tree: "/run/offload/tree", Mountpoint: "/run/offload/host"},
		State:      State{Dir: "/run/offload/dpu"},
		Log:        defaultLog(),
	}
}

var dpuSchema = schemaOf("dpu.toml", reflect.TypeFor[DPU]())

// check reports every value that can't work.
func (c *DPU) check(d *document) {
	c.checkLink(d)
	d.socket("containerd.address", c.Containerd.Address)
	d.socket("plugins.socket", c.Plugins.Socket)
	d.absolute("remotefs.tree", c.RemoteFS.Tree)
	if d.absolute("remotefs.mountpoint", c.RemoteFS.Mountpoint) {
		d.notHidden("plugins.socket", c.Plugins.Socket, c.RemoteFS.Mountpoint)
		d.notHidden("containerd.address", c.Containerd.Address, c.RemoteFS.Mountpoint)
		d.notHidden("state.dir", c.State.Dir, c.RemoteFS.Mountpoint)
	}
	d.absolute("state.dir", c.State.Dir)
	c.Log.check(d)
}

// notHidden reports a path that the mount on mountpoint would cover.
func (d *document) notHidden(key, path, mountpoint string) {
	if path != "" && within(path, mountpoint) {
		d.report("remotefs.mountpoint", "a mount on %s would hide %s (%s)", mountpoint, key, path)
	}
}
