// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/container-offload/offload/shim/launcher"
	"github.com/container-offload/offload/shim/wire"
)

// resolve completes the references in a spec.
func (h *half) resolve(ctx context.Context, bundle string, spec *specs.Spec) error {
	if spec.Root == nil {
		return fmt.Errorf("spec has no root: %w", errdefs.ErrInvalidArgument)
	}
	var err error
	if spec.Root.Path, err = h.resolvePath(ctx, bundle, spec.Root.Path); err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	if !filepath.IsAbs(spec.Root.Path) {
		spec.Root.Path = filepath.Join(bundle, "rootfs")
	} else if gid, ok := mappedRoot(spec); ok {
		if spec.Root.Path, err = reachableRoot(bundle, spec.Root.Path, gid); err != nil {
			return fmt.Errorf("root file system: %w", err)
		}
	}
	for i := range spec.Mounts {
		m := &spec.Mounts[i]
		if m.Source, err = h.resolvePath(ctx, bundle, m.Source); err != nil {
			return fmt.Errorf("mount %s: %w", m.Destination, err)
		}
	}
	if spec.Linux == nil {
		return nil
	}
	if h.noTime {
		dropTime(spec.Linux)
	}
	for i := range spec.Linux.Namespaces {
		ns := &spec.Linux.Namespaces[i]
		if ns.Path, err = h.resolveNamespace(ns.Type, ns.Path); err != nil {
			return fmt.Errorf("%s namespace: %w", ns.Type, err)
		}
	}
	return nil
}

// dropTime removes a new time namespace. dockerd asks for one where the kernel of
// the machine it runs on has them, which says nothing about this one, and itself
// does without where there are none. One that shifts clocks, or is another
// container's, stays, to be refused by the runtime.
func dropTime(l *specs.Linux) {
	if len(l.TimeOffsets) > 0 {
		return
	}
	l.Namespaces = slices.DeleteFunc(l.Namespaces, func(ns specs.LinuxNamespace) bool {
		return ns.Type == specs.TimeNamespace && ns.Path == ""
	})
}

func (h *half) resolvePath(ctx context.Context, bundle, p string) (string, error) {
	ref := wire.Ref(p)
	if name, ok := ref.Export(); ok {
		return h.files.path(name), nil
	}
	if name, ok := ref.Socket(); ok {
		return h.files.socket(ctx, name)
	}
	if size, ok := ref.Shm(); ok {
		return makeShm(bundle, size)
	}
	if shim, id, ok := ref.TaskShm(); ok {
		return h.shmOf(shim, id)
	}
	return p, nil
}

// procNames are the names that namespaces have below /proc/<pid>/ns.
var procNames = map[specs.LinuxNamespaceType]string{
	specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts", specs.PIDNamespace: "pid",
	specs.MountNamespace: "mnt", specs.UserNamespace: "user", specs.CgroupNamespace: "cgroup", specs.TimeNamespace: "time",
}

func (h *half) resolveNamespace(t specs.LinuxNamespaceType, p string) (string, error) {
	ref := wire.Ref(p)
	if key, ok := ref.NetNS(); ok {
		return h.netns.path(key)
	}
	shim, id, ok := ref.TaskNS()
	if !ok {
		return p, nil
	}
	name, ok := procNames[t]
	if !ok {
		return "", fmt.Errorf("unknown type %q: %w", t, errdefs.ErrInvalidArgument)
	}
	pid, err := h.initPid(shim, id)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/%d/ns/%s", pid, name), nil
}

// initPid returns the process id that a container of this DPU's has here.
func (h *half) initPid(shim, id string) (int, error) {
	bundle := filepath.Join(launcher.PodDir(h.cfg.Shim.State, h.target.Namespace, shim), tasksDir, id)
	// runc's pid file stays when the process has gone; the exit status tells.
	if _, err := os.Stat(filepath.Join(bundle, "exit.json")); !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("container %q is not running: %w", id, errdefs.ErrFailedPrecondition)
	}
	b, err := os.ReadFile(filepath.Join(bundle, "init.pid"))
	if err != nil {
		return 0, fmt.Errorf("find container %q: %w", id, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("find container %q: %w", id, err)
	}
	return pid, nil
}
