// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"fmt"
	"os"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/shim/pathrule"
	"github.com/container-offload/offload/shim/shadow"
	"github.com/container-offload/offload/shim/wire"
)

// places are the files of an imaginary DPU.
var places = map[string]pathrule.Place{
	"/run/offload/host/snapshots/7": {DPU: "/run/offload/host/snapshots/7", Host: "/run/offload/tree/snapshots/7", Kind: pathrule.Directory},
	"/etc/hosts":                    {DPU: "/etc/hosts"},
	"/bundle/data":                  {DPU: "/bundle/data", Kind: pathrule.Directory},
	"/dev/null":                     {DPU: "/dev/null", Kind: pathrule.Device},
	"/run/docker.sock":              {DPU: "/run/docker.sock", Kind: pathrule.Socket},
	"/dev/shm":                      {DPU: "/dev/shm", Kind: pathrule.Directory, FS: "tmpfs", Root: true},
	"/containers/web/shm":           {DPU: "/containers/web/shm", Kind: pathrule.Directory, FS: "tmpfs", Root: true},
	"/tmpfs/shm":                    {DPU: "/tmpfs/shm", Kind: pathrule.Directory, FS: "tmpfs"},
}

func testTranslation() *translation {
	return &translation{
		bundle: "/bundle",
		resolve: func(p string) (pathrule.Place, error) {
			place, ok := places[p]
			if !ok {
				return place, &os.PathError{Op: "open", Path: p, Err: unix.ENOENT}
			}
			return place, nil
		},
		export: func(p pathrule.Place, below bool) (wire.Ref, error) {
			if p.Kind == pathrule.Socket {
				return wire.SocketRef("s"), nil
			}
			if below {
				return wire.ExportRef("tree"), nil
			}
			return wire.ExportRef("e"), nil
		},
		owner: func(name, path string) (shadow.Entry, error) {
			if path == "/proc/77/ns/"+name {
				return shadow.Entry{Shim: "pod", ID: "web"}, nil
			}
			return shadow.Entry{}, fmt.Errorf("%s: %w", path, errdefs.ErrNotFound)
		},
		own:  func(name, path string) (bool, error) { return path == "/proc/1/ns/"+name, nil },
		size: func(string) (uint64, error) { return 5 << 20, nil },
	}
}

func TestMountSources(t *testing.T) {
	for _, c := range []struct {
		name string
		in   specs.Mount
		want string
	}{
		{"path of the HOST", specs.Mount{Type: "bind", Source: "/run/offload/host/snapshots/7"}, "/run/offload/tree/snapshots/7"},
		{"path of the DPU", specs.Mount{Type: "bind", Source: "/etc/hosts"}, string(wire.ExportRef("e"))},
		{"bind by option", specs.Mount{Type: "none", Source: "/etc/hosts", Options: []string{"rbind"}}, string(wire.ExportRef("tree"))},
		{"bind of one mount", specs.Mount{Type: "bind", Source: "/etc/hosts", Options: []string{"bind", "ro"}}, string(wire.ExportRef("e"))},
		{"relative to the bundle", specs.Mount{Type: "bind", Source: "data"}, string(wire.ExportRef("e"))},
		{"device", specs.Mount{Type: "bind", Source: "/dev/null"}, "/dev/null"},
		{"socket", specs.Mount{Type: "bind", Source: "/run/docker.sock"}, string(wire.SocketRef("s"))},
		{"no path at all", specs.Mount{Type: "tmpfs", Source: "/etc/hosts"}, "/etc/hosts"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := &specs.Spec{Mounts: []specs.Mount{c.in}}
			require.NoError(t, testTranslation().spec(spec))
			require.Equal(t, c.want, spec.Mounts[0].Source)
		})
	}
}

func TestSharedMemory(t *testing.T) {
	export := string(wire.ExportRef("e"))
	ipc := func(path string) []specs.LinuxNamespace {
		return []specs.LinuxNamespace{{Type: specs.IPCNamespace, Path: path}}
	}
	for _, c := range []struct {
		name       string
		source, at string
		namespaces []specs.LinuxNamespace
		want       string
	}{
		{"shared with others", "/containers/web/shm", "/dev/shm", ipc(""), string(wire.ShmRef(5 << 20))},
		{"of another task", "/containers/web/shm", "/dev/shm", ipc("/proc/77/ns/ipc"), string(wire.TaskShmRef("pod", "web"))},
		{"the machine's, no namespace", "/dev/shm", "/dev/shm", nil, "/dev/shm"},
		{"the machine's, its namespace", "/dev/shm", "/dev/shm", ipc("/proc/1/ns/ipc"), "/dev/shm"},
		{"the DPU's files", "/dev/shm", "/dev/shm", ipc(""), export},
		{"elsewhere in the container", "/containers/web/shm", "/shm", ipc(""), export},
		{"a directory of that name", "/tmpfs/shm", "/dev/shm", ipc(""), export},
		{"any directory", "/bundle/data", "/dev/shm", ipc(""), export},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := &specs.Spec{
				Mounts: []specs.Mount{{Type: "bind", Source: c.source, Destination: c.at}},
				Linux:  &specs.Linux{Namespaces: c.namespaces},
			}
			require.NoError(t, testTranslation().spec(spec))
			require.Equal(t, c.want, spec.Mounts[0].Source)
		})
	}
}

func TestSystemdUnits(t *testing.T) {
	for path, want := range map[string]bool{
		"system.slice:docker:4f": true, ":docker:4f": true, "/docker/4f": false, "/a:b:c": false, "docker": false, "": false, "a:b": false,
	} {
		require.Equal(t, want, namesSystemdUnit(&specs.Spec{Linux: &specs.Linux{CgroupsPath: path}}), path)
	}
	require.False(t, namesSystemdUnit(&specs.Spec{}))
}

func TestMissingSourceNamesMountAndPath(t *testing.T) {
	err := testTranslation().spec(&specs.Spec{Mounts: []specs.Mount{{Type: "bind", Source: "/none", Destination: "/data"}}})
	require.EqualError(t, err, "mount /data: open /none: no such file or directory")
}

func namespaceSpec(t specs.LinuxNamespaceType, path string) *specs.Spec {
	return &specs.Spec{Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: t, Path: path}}}}
}

func TestNamespaces(t *testing.T) {
	spec := namespaceSpec(specs.NetworkNamespace, "/proc/77/ns/net")
	require.NoError(t, testTranslation().spec(spec))
	require.Equal(t, string(wire.TaskNSRef("pod", "web")), spec.Linux.Namespaces[0].Path)

	spec = namespaceSpec(specs.NetworkNamespace, "")
	require.NoError(t, testTranslation().spec(spec))
	require.Empty(t, spec.Linux.Namespaces[0].Path)

	spec = namespaceSpec(specs.NetworkNamespace, "/proc/1/ns/net")
	require.NoError(t, testTranslation().spec(spec))
	require.Empty(t, spec.Linux.Namespaces, "the DPU's own namespace becomes the HOST's own")

	spec = namespaceSpec(specs.NetworkNamespace, "/proc/self/ns/net")
	require.NoError(t, testTranslation().spec(spec))
	_, ok := wire.Ref(spec.Linux.Namespaces[0].Path).NetNS()
	require.True(t, ok, spec.Linux.Namespaces[0].Path)

	err := testTranslation().spec(namespaceSpec(specs.IPCNamespace, "/proc/self/ns/ipc"))
	require.ErrorIs(t, err, errdefs.ErrNotImplemented)
}

func TestCloneSpecKeepsTheOriginal(t *testing.T) {
	in := namespaceSpec(specs.NetworkNamespace, "/proc/77/ns/net")
	in.Root = &specs.Root{Path: "rootfs"}
	in.Mounts = []specs.Mount{{Type: "bind", Source: "/etc/hosts"}}
	out := cloneSpec(in)
	require.NoError(t, testTranslation().spec(out))
	out.Root.Path = "/elsewhere"
	require.Equal(t, "/proc/77/ns/net", in.Linux.Namespaces[0].Path)
	require.Equal(t, "/etc/hosts", in.Mounts[0].Source)
	require.Equal(t, "rootfs", in.Root.Path)
}

func TestShadowNamespaces(t *testing.T) {
	spec := &specs.Spec{Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
		{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace, Path: "/proc/77/ns/ipc"},
		{Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
	}}}
	ns, own := shadowNamespaces(spec)
	require.Equal(t, uintptr(unix.CLONE_NEWNET|unix.CLONE_NEWUTS), ns.New)
	require.Equal(t, []string{"/proc/77/ns/ipc"}, ns.Join)
	require.Equal(t, []string{"net", "uts"}, own)
}

func TestHooksInsideTheContainerAreRefused(t *testing.T) {
	_, err := takeHooks(&specs.Spec{Hooks: &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/true"}}}})
	require.ErrorIs(t, err, errdefs.ErrNotImplemented)
}

func TestHooksRunWithTheState(t *testing.T) {
	out := t.TempDir() + "/state"
	h, err := takeHooks(&specs.Spec{Hooks: &specs.Hooks{CreateRuntime: []specs.Hook{{
		Path: "/bin/sh", Args: []string{"sh", "-c", "cat >" + out + "; echo $NAME >>" + out}, Env: []string{"NAME=value", "PATH=/usr/bin:/bin"},
	}}}})
	require.NoError(t, err)
	require.NoError(t, h.run(t.Context(), createRuntime, specs.State{ID: "web", Pid: 42, Status: specs.StateCreating}))
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Contains(t, string(b), `"id":"web"`)
	require.Contains(t, string(b), `"pid":42`)
	require.Contains(t, string(b), "value\n")
}

func TestFailingHookSaysWhy(t *testing.T) {
	h := hooks{poststop: {{Path: "/bin/sh", Args: []string{"sh", "-c", "echo no route >&2; exit 3"}}}}
	err := h.run(t.Context(), poststop, specs.State{})
	require.ErrorContains(t, err, "run poststop hook /bin/sh")
	require.ErrorContains(t, err, "exit status 3: no route")
}

// TestReadOnlyBindsAreExportedSo holds that the HOST is not asked to keep a bind
// read-only: it can't write.
func TestReadOnlyBindsAreExportedSo(t *testing.T) {
	for _, c := range []struct {
		options []string
		want    bool
	}{
		{[]string{"rbind"}, false}, {[]string{"rbind", "ro"}, true}, {[]string{"bind", "rro"}, true},
		{[]string{"ro", "rbind", "rw"}, false}, {[]string{"rro", "rw"}, true}, {[]string{"rro", "rrw"}, false},
	} {
		tr := testTranslation()
		var got bool
		tr.export = func(p pathrule.Place, _ bool) (wire.Ref, error) {
			got = p.ReadOnly
			return "", nil
		}
		spec := &specs.Spec{Mounts: []specs.Mount{{Type: "bind", Source: "/etc/hosts", Options: c.options}}}
		require.NoError(t, tr.spec(spec))
		require.Equal(t, c.want, got, "%q", c.options)
	}
}
