// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"path/filepath"
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
	Network    Network    `toml:"network"`
	Log        Log        `toml:"log"`
	Metrics    Metrics    `toml:"metrics"`
	Rexec      Rexec      `toml:"rexec"`
	Mounts     []Mount    `toml:"mount"`
	Bridges    []Bridge   `toml:"bridge"`
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

// Mount is a directory of the HOST that the DPU keeps mounted.
type Mount struct {
	// Export is the name by which the HOST exports it. If it is empty, the HOST
	// finds the export that Path lies in.
	Export string `toml:"export" json:"export"`
	// Path is where it is on the HOST. What is given to a container from below
	// the mount point is used by that path there.
	Path string `toml:"path" json:"path"`
	// Mountpoint is where it is mounted on the DPU; it is made if need be.
	Mountpoint string `toml:"mountpoint" json:"mountpoint"`
	// ReadOnly mounts it read-only.
	ReadOnly bool `toml:"read_only" json:"read_only"`
	// Options are further ones, for [ParseMountOptions].
	Options string `toml:"options" json:"options,omitempty"`
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
		Network:    defaultNetwork(),
		Log:        defaultLog(),
		Rexec:      defaultRexec(),
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
	c.Network.check(d, "link.address", c.Link.Address)
	c.Log.check(d)
	c.Metrics.check(d)
	c.Rexec.check(d)
	mountpoints := map[string]string{filepath.Clean(c.RemoteFS.Mountpoint): "remotefs.mountpoint"}
	for i, m := range c.Mounts {
		m.check(d, fmt.Sprintf("mount[%d]", i), mountpoints)
	}
	d.bridges(c.Bridges)
}

func (m Mount) check(d *document, key string, mountpoints map[string]string) {
	if _, err := ParseMountOptions(m.Options); err != nil {
		d.report(key+".options", "%v", err)
	}
	if m.Export != "" && !exportName.MatchString(m.Export) || m.Export == treeExport {
		d.report(key+".export", "%q is not the name of an export; see the HOST's host.toml", m.Export)
	}
	d.absolute(key+".path", m.Path)
	if !d.absolute(key+".mountpoint", m.Mountpoint) {
		return
	}
	clean := filepath.Clean(m.Mountpoint)
	if other, ok := mountpoints[clean]; ok {
		d.report(key+".mountpoint", "%s is that of %s too", clean, other)
	}
	if clean == "/" {
		d.report(key+".mountpoint", "a mount on / would hide everything")
	}
	mountpoints[clean] = key
}

// Validate reports what is wrong with a mount that is not from a file.
func (m Mount) Validate() error {
	d := &document{file: "mount", places: map[string]place{}}
	m.check(d, "mount", map[string]string{})
	return asError(d.problems)
}

// notHidden reports a path that the mount on mountpoint would cover.
func (d *document) notHidden(key, path, mountpoint string) {
	if path != "" && within(path, mountpoint) {
		d.report("remotefs.mountpoint", "a mount on %s would hide %s (%s)", mountpoint, key, path)
	}
}
