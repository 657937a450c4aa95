// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
)

// Host is the configuration of everything that runs on the HOST. It is not
// changed once loaded and may be shared.
type Host struct {
	// Version is the version of the file's form, [Version].
	Version int      `toml:"version"`
	Link    HostLink `toml:"link"`
	Store   Store    `toml:"store"`
	Shim    Shim     `toml:"shim"`
	State   State    `toml:"state"`
	Network Network  `toml:"network"`
	Log     Log      `toml:"log"`
	Metrics Metrics  `toml:"metrics"`
	Rexec   Rexec    `toml:"rexec"`
	Views   Views    `toml:"views"`
	Exports []Export `toml:"export"`
	Bridges []Bridge `toml:"bridge"`
}

// HostLink says where the HOST awaits its DPU.
type HostLink struct {
	// Listen is the agent's own address: tcp://ADDRESS:PORT, vsock://CID:PORT
	// or unix:///PATH. It has no default.
	Listen string `toml:"listen"`
	// Insecure allows tcp without TLS: whoever can reach the port rules the
	// HOST.
	Insecure bool `toml:"insecure"`
	// PeerCID is the vsock context id of the DPU, the only one that may
	// connect; 0 if it is not given.
	PeerCID uint32 `toml:"peer_cid"`
	// ResumeTimeout is how long a session survives without a connection, from
	// 1 s to 24 h.
	ResumeTimeout Duration `toml:"resume_timeout"`
	TLS           TLS      `toml:"tls"`
}

// Store says where the HOST keeps its snapshots.
type Store struct {
	// Root is the directory of the snapshots and their database.
	Root string `toml:"root"`
	// Tree is the directory below which snapshots are mounted and which the
	// DPU sees.
	Tree string `toml:"tree"`
}

// Shim says how the HOST half of a shim is run.
type Shim struct {
	// Binary is the path of its program; if it is empty, see [Shim.Locate].
	Binary string `toml:"binary"`
	// Runc is the OCI runtime: a path, or a name to be found in PATH.
	Runc string `toml:"runc"`
	// Warm is how many shims are started before they are needed, 0 to 64.
	Warm int `toml:"warm"`
	// State is the directory of what shims keep while they run.
	State string `toml:"state"`
}

// Views are what daemons on the DPU are shown of this machine.
type Views struct {
	// Enabled exports /proc as "proc", /sys/fs/cgroup as "cgroup" and a description
	// of this machine as "machine", read-only.
	Enabled bool `toml:"enabled"`
}

// treeExport is the name under which the DPU mounts store.tree.
const treeExport = "tree"

// reservedExports are the names of exports that are not in a file.
var reservedExports = map[string]string{
	treeExport: "the snapshots' tree", "proc": "this machine's /proc", "cgroup": "this machine's /sys/fs/cgroup",
	"machine": "what this machine is",
}

// maxWarm bounds shim.warm; a waiting shim holds several MiB of memory.
const maxWarm = 64

// DefaultHost returns the configuration that an empty file stands for, but for
// link.listen, which every file must give.
func DefaultHost() *Host {
	return &Host{
		Version: Version,
		Link:    HostLink{ResumeTimeout: defaultResumeTimeout},
		Store:   Store{Root: "/var/lib/offload", Tree: "/run/offload/tree"},
		Shim:    Shim{Runc: "runc", Warm: 1, State: "/run/offload/shims"},
		State:   State{Dir: "/run/offload/agent"},
		Network: defaultNetwork(),
		Log:     defaultLog(),
		Rexec:   defaultRexec(),
		Views:   Views{Enabled: true},
	}
}

var hostSchema = schemaOf("host.toml", reflect.TypeFor[Host]())

// check reports every value that can't work.
func (c *Host) check(d *document) {
	c.checkLink(d)
	c.Store.check(d)
	c.Shim.check(d)
	d.absolute("state.dir", c.State.Dir)
	c.Network.check(d, "link.listen", c.Link.Listen)
	c.Log.check(d)
	c.Metrics.check(d)
	c.Rexec.check(d)
	names := make(map[string]bool)
	for i, e := range c.Exports {
		e.check(d, fmt.Sprintf("export[%d]", i), names)
	}
	d.bridges(c.Bridges)
}

func (s Store) check(d *document) {
	if !d.absolute("store.root", s.Root) || !d.absolute("store.tree", s.Tree) {
		return
	}
	if within(s.Root, s.Tree) || within(s.Tree, s.Root) {
		d.report("store.tree", "%s and store.root (%s) must not lie one in the other", s.Tree, s.Root)
	}
}

func (s Shim) check(d *document) {
	if s.Binary != "" {
		d.absolute("shim.binary", s.Binary)
	}
	switch {
	case s.Runc == "":
		d.report("shim.runc", "must not be empty; write a name or an absolute path")
	case strings.Contains(s.Runc, "/") && !filepath.IsAbs(s.Runc):
		d.report("shim.runc", "%q is neither a name nor an absolute path", s.Runc)
	}
	if s.Warm < 0 || s.Warm > maxWarm {
		d.report("shim.warm", "%d is out of range, 0 to %d", s.Warm, maxWarm)
	}
	d.absolute("shim.state", s.State)
}

var exportName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
