// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// minimal files, to which the cases below add.
const (
	dpuTCP   = "version = 1\nlink.address = \"tcp://10.0.0.2:7400\"\nlink.insecure = true\n"
	hostTCP  = "version = 1\nlink.listen = \"tcp://0.0.0.0:7400\"\nlink.insecure = true\n"
	dpuUnix  = "version = 1\nlink.address = \"unix:///run/l.sock\"\n"
	hostUnix = "version = 1\nlink.listen = \"unix:///run/l.sock\"\n"
)

func parseBoth(role, text string) error {
	var err error
	if role == "dpu" {
		_, err = ParseDPU("f", []byte(text))
	} else {
		_, err = ParseHost("f", []byte(text))
	}
	return err
}

func TestBadInput(t *testing.T) {
	for _, c := range []struct{ name, role, text, want string }{
		// Form.
		{"empty", "dpu", "", `f: version: missing; write version = 1 at the top of the file`},
		{"no version", "host", "[link]\n", `f: version: missing; write version = 1 at the top of the file`},
		{"newer version", "dpu", "version = 2\n[new]\nkey = 1\n", `f:1:1: version: 2 is not supported; this program reads version 1`},
		{"version zero", "dpu", "version = 0\n", `f:1:1: version: 0 is not supported; this program reads version 1`},
		{"version as text", "dpu", "version = '1'\n", `f:1:1: version: want 1`},
		{"not TOML", "dpu", "version = 1\n[link\n", `f:2:6: expected ']' to close table name`},
		{"no value", "dpu", "version =\n", `f:1:10: unexpected character U+000A at start of value`},
		{"twice", "dpu", "version = 1\nversion = 1\n", `f:2:1: key version is already defined`},
		{"table twice", "host", "version = 1\n[link]\n[link]\n", `f:3:2: table link already exists`},

		// Keys that are not known.
		{"near miss", "dpu", "version = 1\n[link]\nadress = 'x'\n", `f:3:1: unknown key link.adress, did you mean link.address?`},
		{"near table", "dpu", "version = 1\n[lnik]\naddress = 'x'\n", `f:2:2: unknown key lnik, did you mean link?`},
		{"swapped", "host", "version = 1\n[shim]\nwram = 1\n", `f:3:1: unknown key shim.wram, did you mean shim.warm?`},
		{"case", "dpu", "version = 1\n[link]\nAddress = 'x'\n", `f:3:1: unknown key link.Address, did you mean link.address?`},
		{"dash", "host", "version = 1\n[link]\npeer-cid = 3\n", `f:3:1: unknown key link.peer-cid, did you mean link.peer_cid?`},
		{"other file", "dpu", "version = 1\n[store]\nroot = '/x'\n", `f:2:2: unknown key store here, it belongs in host.toml`},
		{"other file's key", "host", "version = 1\nlink.address = 'x'\n", `f:2:6: unknown key link.address here, it belongs in dpu.toml`},
		{"other table", "dpu", "version = 1\n[link]\nmountpoint = '/x'\n", `f:3:1: unknown key link.mountpoint, did you mean remotefs.mountpoint or mount.mountpoint?`},
		{"several tables", "dpu", "version = 1\naddress = 'x'\n", `f:2:1: unknown key address, did you mean link.address or containerd.address?`},
		{"nothing like it", "dpu", "version = 1\n[log]\ncolour = 'x'\n", `f:3:1: unknown key log.colour; [log] may have level, format`},
		{"nothing like it at all", "dpu", "version = 1\n[colours]\nx = 1\n", `f:2:2: unknown key colours; a file may have version, link, containerd, plugins, remotefs, state, network, log, metrics, rexec, mount, bridge`},
		{"inline", "dpu", "version = 1\nlink = {adress = 'x'}\n", `f:2:9: unknown key link.adress, did you mean link.address?`},
		{"in an array of tables", "host", "version = 1\n[[export]]\nnmae = 'x'\n", `f:3:1: unknown key export.nmae, did you mean export.name?`},
		{"in an inline array of tables", "host", "version = 1\nexport = [{name = 'x', path = '/x', rw = true}]\n", `f:2:37: unknown key export.rw; [export] may have name, path, read_only, allow, squash, uid_map, gid_map, one_file_system`},
		{"several", "dpu", "version = 1\n[link]\nadress = 'x'\ninsecur = true\n", "f:3:1: unknown key link.adress, did you mean link.address?\nf:4:1: unknown key link.insecur, did you mean link.insecure?"},

		// Types.
		{"string for a boolean", "dpu", "version = 1\nlink.insecure = 'yes'\n", `f:2:17: link.insecure: want true or false, not a string`},
		{"number for a string", "dpu", "version = 1\n[link]\naddress = 7400\n", `f:3:11: link.address: want a string, not a number`},
		{"number for a duration", "dpu", "version = 1\n[link]\nconnect_timeout = 5\n", `f:3:19: link.connect_timeout: want a string with a duration, such as "5s", not a number`},
		{"no unit", "dpu", "version = 1\n[link]\nconnect_timeout = '5'\n", `f:3:1: link.connect_timeout: "5" is not a duration; write a number with a unit, such as "5s" or "2m"`},
		{"fraction for a whole number", "host", "version = 1\nshim.warm = 1.5\n", `f:2:13: shim.warm: want a whole number, not a number`},
		{"negative context id", "host", "version = 1\nlink.peer_cid = -1\n", `f:2:6: link.peer_cid: -1 is out of range`},
		{"large context id", "host", "version = 1\nlink.peer_cid = 4294967296\n", `f:2:6: link.peer_cid: 4294967296 is out of range`},
		{"string for a table", "dpu", "version = 1\nlink = 'tcp://x:1'\n", `f:2:8: link: want a table, not a string`},
		{"table for a string", "dpu", "version = 1\n[link.address]\nx = 1\n", `f:2:7: link.address: want a string, not a table`},
		{"key below a string", "dpu", "version = 1\nlink.address.host = 'x'\n", `f:2:14: link.address: want a string, not a table`},
		{"table for an array of tables", "host", "version = 1\n[export]\nname = 'x'\n", `f:2:2: export: want an array of tables, not a table`},
		{"array of tables for a table", "host", "version = 1\n[[store]]\nroot = '/x'\n", `f:2:3: store: want a table, not an array of tables`},
		{"strings in an array of tables", "host", "version = 1\nexport = ['/x']\n", `f:2:11: export[0]: want a table, not a string`},
		{"date", "dpu", "version = 1\nlink.address = 2026-01-01\n", `f:2:16: link.address: want a string, not a date or time`},
		{"array", "dpu", "version = 1\nlink.address = []\n", `f:2:6: link.address: want a string, not an array`},

		// The link.
		{"no address", "dpu", "version = 1\n", `f: link.address: missing; write an address such as "tcp://10.0.0.2:7400"`},
		{"no listener", "host", "version = 1\n", `f: link.listen: missing; write an address such as "tcp://0.0.0.0:7400"`},
		{"tcp without protection", "dpu", "version = 1\nlink.address = 'tcp://10.0.0.2:7400'\n", `f:2:1: link.tls: missing; tcp needs ca, cert and key, which "offloadctl pki init" makes, or link.insecure = true to do without protection`},
		{"tls in part", "host", "version = 1\nlink.listen = 'tcp://0.0.0.0:7400'\n[link.tls]\nca = '/ca'\n", "f:3:7: link.tls.cert: missing; [link.tls] needs ca, cert and key\nf:3:7: link.tls.key: missing; [link.tls] needs ca, cert and key"},
		{"tls empty", "host", "version = 1\nlink.listen = 'tcp://0.0.0.0:7400'\n[link.tls]\nca = ''\ncert = '/c'\nkey = '/k'\n", `f:4:1: link.tls.ca: must not be empty; write an absolute path`},
		{"tls relative", "dpu", "version = 1\nlink.address = 'tcp://10.0.0.2:7400'\n[link.tls]\nca = 'ca.pem'\ncert = '/c'\nkey = '/k'\n", `f:4:1: link.tls.ca: "ca.pem" is not an absolute path`},
		{"crl relative", "dpu", "version = 1\nlink.address = 'tcp://10.0.0.2:7400'\n[link.tls]\nca = '/a'\ncert = '/c'\nkey = '/k'\ncrl = 'r.crl'\n", `f:7:1: link.tls.crl: "r.crl" is not an absolute path`},
		{"a pin that is none", "host", "version = 1\nlink.listen = 'tcp://0.0.0.0:7400'\n[link.tls]\nca = '/a'\ncert = '/c'\nkey = '/k'\npins = '12'\n", `f:7:1: link.tls.pins: "12" is not the SHA-256 of a certificate: 64 hexadecimal digits; "offloadctl pki show -o json" tells it`},
		{"insecure with tls", "dpu", dpuTCP + "[link.tls]\nca = '/a'\ncert = '/c'\nkey = '/k'\n", `f:3:6: link.insecure: is true although [link.tls] is given; keep one of them`},
		{"insecure vsock", "dpu", "version = 1\nlink.address = 'vsock://3:7400'\nlink.insecure = true\n", `f:3:6: link.insecure: is for tcp only; vsock needs no such leave`},
		{"insecure unix", "host", hostUnix + "link.insecure = true\n", `f:3:6: link.insecure: is for tcp only; unix needs no such leave`},
		{"vsock for anybody", "host", "version = 1\nlink.listen = 'vsock://3:7400'\n", `f:2:1: link.peer_cid: missing; vsock needs the context id of the DPU, or [link.tls]`},
		{"context id of tcp", "host", hostTCP + "link.peer_cid = 3\n", `f:4:6: link.peer_cid: is for vsock only, and link.listen is tcp`},
		{"context id of nobody", "host", "version = 1\nlink.listen = 'vsock://3:7400'\nlink.peer_cid = 4294967295\n", `f:3:6: link.peer_cid: 4294967295 is not the context id of a machine`},
		{"connect at once", "dpu", dpuTCP + "link.connect_timeout = '1ms'\n", `f:4:6: link.connect_timeout: 1ms is out of range, 100ms to 5m`},
		{"resume for ever", "dpu", dpuTCP + "link.resume_timeout = '48h'\n", `f:4:6: link.resume_timeout: 48h is out of range, 1s to 24h`},
		{"resume never", "host", hostTCP + "link.resume_timeout = '-1s'\n", `f:4:6: link.resume_timeout: -1s is out of range, 1s to 24h`},

		// Paths and names.
		{"relative state", "dpu", dpuUnix + "state.dir = 'run'\n", `f:3:7: state.dir: "run" is not an absolute path`},
		{"empty socket", "dpu", dpuUnix + "plugins.socket = ''\n", `f:3:9: plugins.socket: must not be empty; write an absolute path`},
		{"zero byte", "dpu", dpuUnix + "containerd.address = \"/a\\u0000b\"\n", `f:3:12: containerd.address: "/a\x00b" has a zero byte in it`},
		{"long socket", "dpu", dpuUnix + "plugins.socket = '/" + strings.Repeat("x", 107) + "'\n", `f:3:9: plugins.socket: the path has 108 bytes, a unix socket's can have 107`},
		{"hidden socket", "dpu", dpuUnix + "remotefs.mountpoint = '/run/offload'\n", "f:3:10: remotefs.mountpoint: a mount on /run/offload would hide plugins.socket (/run/offload/plugins.sock)\nf:3:10: remotefs.mountpoint: a mount on /run/offload would hide state.dir (/run/offload/dpu)"},
		{"tree in root", "host", hostUnix + "store.tree = '/var/lib/offload/tree'\n", `f:3:7: store.tree: /var/lib/offload/tree and store.root (/var/lib/offload) must not lie one in the other`},
		{"root is tree", "host", hostUnix + "store.root = '/s'\nstore.tree = '/s/.'\n", `f:4:7: store.tree: /s/. and store.root (/s) must not lie one in the other`},
		{"runc beside", "host", hostUnix + "shim.runc = './runc'\n", `f:3:6: shim.runc: "./runc" is neither a name nor an absolute path`},
		{"no runc", "host", hostUnix + "shim.runc = ''\n", `f:3:6: shim.runc: must not be empty; write a name or an absolute path`},
		{"cold shims", "host", hostUnix + "shim.warm = -1\n", `f:3:6: shim.warm: -1 is out of range, 0 to 64`},
		{"too warm", "host", hostUnix + "shim.warm = 65\n", `f:3:6: shim.warm: 65 is out of range, 0 to 64`},
		{"shim's name", "host", hostUnix + "shim.binary = 'shim'\n", `f:3:6: shim.binary: "shim" is not an absolute path`},
		{"carrier", "dpu", dpuUnix + "network.carrier = 'pigeon'\n", `f:3:9: network.carrier: "pigeon" is not known; use tunnel or vxlan`},
		{"vxlan without IP", "dpu", dpuUnix + "network.carrier = 'vxlan'\n", `f:3:9: network.carrier: vxlan needs a link of tcp to an IP address, and link.address is "unix:///run/l.sock"`},
		{"vxlan to a name", "dpu", "version = 1\nlink.address = 'tcp://host:7400'\nlink.insecure = true\nnetwork.carrier = 'vxlan'\n", `f:4:9: network.carrier: vxlan needs a link of tcp to an IP address, and link.address is "tcp://host:7400"`},
		{"level", "dpu", dpuUnix + "log.level = 'loud'\n", `f:3:5: log.level: "loud" is not known; use debug, info, warn or error`},
		{"format", "host", hostUnix + "log.format = 'xml'\n", `f:3:5: log.format: "xml" is not known; use text or json`},
		{"metrics nowhere", "dpu", dpuUnix + "metrics.listen = '9120'\n", `f:3:9: metrics.listen: "9120" is not an address such as "127.0.0.1:9120"`},
		{"metrics on no port", "host", hostUnix + "metrics.listen = ':http'\n", `f:3:9: metrics.listen: port "http" is out of range, 1 to 65535`},
		{"mount of the tree", "dpu", dpuUnix + "[[mount]]\nexport = 'tree'\npath = '/x'\nmountpoint = '/y'\n", `f:4:1: mount[0].export: "tree" is not the name of an export; see the HOST's host.toml`},
		{"mount nowhere", "dpu", dpuUnix + "[[mount]]\nexport = 'x'\npath = 'x'\n", "f:3:3: mount[0].mountpoint: must not be empty; write an absolute path\nf:5:1: mount[0].path: \"x\" is not an absolute path"},
		{"mount on everything", "dpu", dpuUnix + "[[mount]]\nexport = 'x'\npath = '/x'\nmountpoint = '/.'\n", `f:6:1: mount[0].mountpoint: a mount on / would hide everything`},
		{"mounts on one place", "dpu", dpuUnix + "[[mount]]\nexport = 'x'\npath = '/x'\nmountpoint = '/y'\n[[mount]]\nexport = 'x'\npath = '/x'\nmountpoint = '/y/'\n", `f:10:1: mount[1].mountpoint: /y is that of mount[0] too`},
		{"export without a name", "host", hostUnix + "[[export]]\npath = '/x'\n", `f:3:3: export[0].name: "" is not a name; use up to 63 letters, digits, dots, dashes and underscores, the first a letter or digit`},
		{"export outside", "host", hostUnix + "[[export]]\nname = '../x'\npath = '/x'\n", `f:4:1: export[0].name: "../x" is not a name; use up to 63 letters, digits, dots, dashes and underscores, the first a letter or digit`},
		{"exports of one name", "host", hostUnix + "[[export]]\nname = 'x'\npath = '/x'\n[[export]]\nname = 'x'\npath = 'y'\n", "f:7:1: export[1].name: \"x\" is the name of an earlier export\nf:8:1: export[1].path: \"y\" is not an absolute path"},
		{"bridge to nowhere", "dpu", dpuUnix + "[[bridge]]\npath = '/s'\n", `f:3:3: bridge[0]: direction "" is neither "connect" nor "serve"`},
		{"bridge of a relative path", "dpu", dpuUnix + "[[bridge]]\ndirection = 'connect'\npath = 's'\n", `f:3:3: bridge[0]: path "s" is neither a clean absolute path nor @NAME`},
		{"bridge of everything", "host", hostUnix + "[[bridge]]\ndirection = 'serve'\npath = '/'\n", `f:3:3: bridge[0]: path: all of / can't be bridged`},
		{"bridge as somebody", "host", hostUnix + "[[bridge]]\ndirection = 'serve'\npath = '/s'\nas = 'root'\n", `f:3:3: bridge[0]: as: "root" is neither "same" nor UID:GID`},
		{"bridge in a circle", "host", hostUnix + "[[bridge]]\ndirection = 'serve'\npath = '/s'\n[[bridge]]\ndirection = 'connect'\npath = '/s/a'\n", `f:8:1: bridge[1].path: /s/a is expected from the peer and /s is served to it: they overlap`},
		{"export of operations", "host", hostUnix + "[[export]]\nname = 'x'\npath = '/x'\nallow = 'open, list'\n", `f:6:1: export[0].allow: "list" is not one of open, read, write, readdir, mkdir, rmdir, create, unlink, rename, setattr, setxattr`},
		{"export of users", "host", hostUnix + "[[export]]\nname = 'x'\npath = '/x'\nsquash = 'nobody'\n", `f:6:1: export[0].squash: "nobody" is not UID:GID`},
		{"export of half a map", "host", hostUnix + "[[export]]\nname = 'x'\npath = '/x'\nuid_map = '0:1:2'\none_file_system = true\n", `f:6:1: export[0].uid_map: uid_map and gid_map go together`},
		{"export of mapped mounts", "host", hostUnix + "[[export]]\nname = 'x'\npath = '/x'\nuid_map = '0:1:2'\ngid_map = '0:1:2'\n", `f:6:1: export[0].uid_map: ids are mapped on one file system only; set one_file_system = true`},
		{"export of the tree", "host", hostUnix + "[[export]]\nname = 'tree'\npath = '/x'\n", `f:4:1: export[0].name: "tree" is the name of the snapshots' tree; use another`},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.EqualError(t, parseBoth(c.role, c.text), c.want)
		})
	}
}

func TestProblems(t *testing.T) {
	_, err := ParseDPU("f", []byte("version = 1\n[link]\nadress = 'x'\ninsecure = 3\n"))
	problems := Problems(err)
	require.Len(t, problems, 2)
	assert.Equal(t, Problem{File: "f", Line: 4, Column: 12, Key: "link.insecure", Text: "want true or false, not a number"}, *problems[1])
	assert.Nil(t, Problems(os.ErrNotExist))
	assert.Nil(t, Problems(nil))
}

func TestMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dpu.toml")
	_, err := LoadDPU(path)
	assert.EqualError(t, err, "read configuration: open "+path+": no such file or directory; \"offloadctl config dpu\" prints an example")
	_, err = LoadHost(path)
	assert.EqualError(t, err, "read configuration: open "+path+": no such file or directory; \"offloadctl config host\" prints an example")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestUnfitFile(t *testing.T) {
	dir := t.TempDir()
	_, err := LoadDPU(dir)
	assert.EqualError(t, err, "read configuration: read "+dir+": is a directory")

	large := filepath.Join(dir, "large")
	require.NoError(t, os.WriteFile(large, make([]byte, maxFile+1), 0o600))
	_, err = LoadHost(large)
	assert.EqualError(t, err, "read configuration "+large+": it has more than 1048576 bytes")
}

func TestCertificateFiles(t *testing.T) {
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	require.NoError(t, os.WriteFile(ca, nil, 0o600))
	path := filepath.Join(dir, "dpu.toml")
	missing := filepath.Join(dir, "dpu.pem")
	require.NoError(t, os.WriteFile(path, []byte("version = 1\n[link]\naddress = 'tcp://10.0.0.2:7400'\n[link.tls]\n"+
		"ca = '"+ca+"'\ncert = '"+missing+"'\nkey = '"+dir+"'\n"), 0o600))

	_, err := LoadDPU(path)
	assert.EqualError(t, err, path+":6:1: link.tls.cert: "+missing+" does not exist; \"offloadctl pki init\" makes it\n"+
		path+":7:1: link.tls.key: "+dir+" can't be read: not a file")
}
