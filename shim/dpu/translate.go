// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/shim/pathrule"
	"github.com/container-offload/offload/shim/shadow"
	"github.com/container-offload/offload/shim/wire"
)

// translation turns a spec made for the DPU into one for the HOST. What it
// needs to know of the machine comes through its functions.
type translation struct {
	bundle  string
	resolve func(path string) (pathrule.Place, error)
	// export has the HOST reach a place, with what is mounted below it or
	// without.
	export func(p pathrule.Place, below bool) (wire.Ref, error)
	owner  func(name, path string) (shadow.Entry, error)
	// own tells whether the namespace at path is the DPU's own.
	own func(name, path string) (bool, error)
	// size returns how much the file system at path can hold, in bytes.
	size func(path string) (uint64, error)
}

// spec translates every path in spec, in place.
func (tr *translation) spec(spec *specs.Spec) error {
	for i := range spec.Mounts {
		if err := tr.mount(spec, &spec.Mounts[i]); err != nil {
			return fmt.Errorf("mount %s: %w", spec.Mounts[i].Destination, err)
		}
	}
	if spec.Linux == nil {
		return nil
	}
	if spec.Linux.Seccomp != nil && spec.Linux.Seccomp.ListenerPath != "" {
		return fmt.Errorf("seccomp listener %s is a socket of the DPU: %w", spec.Linux.Seccomp.ListenerPath, errdefs.ErrNotImplemented)
	}
	var kept []specs.LinuxNamespace
	for _, ns := range spec.Linux.Namespaces {
		drop, err := tr.namespace(&ns)
		if err != nil {
			return err
		}
		if !drop {
			kept = append(kept, ns)
		}
	}
	spec.Linux.Namespaces = kept
	return nil
}

// mount translates the source of a bind mount. Others name no path.
func (tr *translation) mount(spec *specs.Spec, m *specs.Mount) error {
	if m.Type != "bind" && !slices.Contains(m.Options, "bind") && !slices.Contains(m.Options, "rbind") {
		return nil
	}
	src := m.Source
	if !filepath.IsAbs(src) {
		src = filepath.Join(tr.bundle, src) // runtime-spec: relative to the bundle
	}
	place, err := tr.resolve(src)
	if err != nil {
		return err
	}
	if m.Destination == shmPath {
		source, ok, err := tr.sharedMemory(spec, place)
		if err != nil {
			return err
		}
		if ok {
			m.Source = source
			return nil
		}
	}
	// The HOST is not trusted to keep to it.
	place.ReadOnly = place.ReadOnly || isReadOnly(m.Options)
	m.Source, err = tr.place(place, slices.Contains(m.Options, "rbind"))
	return err
}

// isReadOnly tells whether a mount with these options is, itself or with all that is
// mounted below it. Of each pair of options the last one counts.
func isReadOnly(options []string) bool {
	var ro, rro bool
	for _, o := range options {
		switch o {
		case "ro", "rw":
			ro = o == "ro"
		case "rro", "rrw":
			rro = o == "rro"
		}
	}
	return ro || rro
}

// path returns what stands for the DPU path p on the HOST.
func (tr *translation) path(p string) (string, error) {
	place, err := tr.resolve(p)
	if err != nil {
		return "", err
	}
	return tr.place(place, true)
}

// place returns what stands for a resolved path in the HOST's spec. below tells
// whether what is mounted below it belongs to it.
func (tr *translation) place(place pathrule.Place, below bool) (string, error) {
	switch {
	case place.Host != "":
		return place.Host, nil
	case place.Kind == pathrule.Device:
		// A device is the machine's it is used on.
		return place.DPU, nil
	}
	ref, err := tr.export(place, below)
	return string(ref), err
}

var nsNames = map[specs.LinuxNamespaceType]struct {
	name string
	flag uintptr
}{
	specs.NetworkNamespace: {"net", unix.CLONE_NEWNET},
	specs.IPCNamespace:     {"ipc", unix.CLONE_NEWIPC},
	specs.UTSNamespace:     {"uts", unix.CLONE_NEWUTS},
	specs.PIDNamespace:     {"pid", 0},
	specs.MountNamespace:   {"mnt", 0},
	specs.UserNamespace:    {"user", 0},
	specs.CgroupNamespace:  {"cgroup", 0},
	specs.TimeNamespace:    {"time", 0},
}

// namespace translates the path of a namespace. It reports true if the
// namespace is the DPU's own: the task then has the HOST's own.
func (tr *translation) namespace(ns *specs.LinuxNamespace) (drop bool, err error) {
	if ns.Path == "" {
		return false, nil
	}
	known, ok := nsNames[ns.Type]
	if !ok {
		return false, fmt.Errorf("namespace type %q: %w", ns.Type, errdefs.ErrNotImplemented)
	}
	e, err := tr.owner(known.name, ns.Path)
	if err == nil {
		ns.Path = string(wire.TaskNSRef(e.Shim, e.ID))
		return false, nil
	}
	if !errors.Is(err, errdefs.ErrNotFound) {
		return false, fmt.Errorf("%s namespace: %w", ns.Type, err)
	}
	if own, err := tr.own(known.name, ns.Path); err != nil || own {
		return own, err
	}
	if ns.Type != specs.NetworkNamespace {
		return false, fmt.Errorf("%s namespace %s is one of the DPU's that no task has: %w", ns.Type, ns.Path, errdefs.ErrNotImplemented)
	}
	ino, err := inodeOf(ns.Path)
	if err != nil {
		return false, err
	}
	ns.Path = string(wire.NetNSRef(fmt.Sprint(ino)))
	return false, nil
}

// shadowNamespaces returns the namespaces that a task's shadow gets: those that
// DPU programs enter by the task's pid. own names the new ones.
func shadowNamespaces(spec *specs.Spec) (n shadow.Namespaces, own []string) {
	if spec.Linux == nil {
		return n, nil
	}
	for _, ns := range spec.Linux.Namespaces {
		known := nsNames[ns.Type]
		switch {
		case known.flag == 0:
		case ns.Path == "":
			n.New |= known.flag
			own = append(own, known.name)
		default:
			n.Join = append(n.Join, ns.Path)
		}
	}
	return n, own
}

func isOwnNamespace(name, path string) (bool, error) {
	theirs, err := inodeOf(path)
	if err != nil {
		return false, err
	}
	mine, err := inodeOf("/proc/self/ns/" + name)
	return err == nil && mine == theirs, err
}

func inodeOf(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Ino, nil
}
