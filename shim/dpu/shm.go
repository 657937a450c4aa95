// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"fmt"
	"os"
	"path"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/shim/pathrule"
	"github.com/container-offload/offload/shim/wire"
)

// shmPath is where a container has its POSIX shared memory.
const shmPath = "/dev/shm"

// sharedMemory says what stands for a bind on /dev/shm that comes with an IPC
// namespace. Memory can be shared on one machine only, so it is the HOST's: a
// daemon makes the file system for it on the DPU, where no process uses it.
// ok is false for every other bind, which is one of files.
func (tr *translation) sharedMemory(spec *specs.Spec, place pathrule.Place) (source string, ok bool, err error) {
	ns, has := ipcNamespace(spec)
	if place.DPU == shmPath {
		own := !has
		if has && ns.Path != "" {
			if own, err = tr.own("ipc", ns.Path); err != nil {
				return "", false, err
			}
		}
		return shmPath, own, nil
	}
	// dockerd and the CRI plugin make a file system for nothing else, named so.
	if !has || place.FS != "tmpfs" || !place.Root || path.Base(place.DPU) != "shm" {
		return "", false, nil
	}
	if ns.Path != "" {
		e, err := tr.owner("ipc", ns.Path)
		if errdefs.IsNotFound(err) {
			return "", false, nil
		}
		if err != nil {
			return "", false, fmt.Errorf("%s namespace: %w", ns.Type, err)
		}
		return string(wire.TaskShmRef(e.Shim, e.ID)), true, nil
	}
	size, err := tr.size(place.DPU)
	if err != nil {
		return "", false, err
	}
	return string(wire.ShmRef(size)), true, nil
}

func ipcNamespace(spec *specs.Spec) (specs.LinuxNamespace, bool) {
	if spec.Linux != nil {
		for _, ns := range spec.Linux.Namespaces {
			if ns.Type == specs.IPCNamespace {
				return ns, true
			}
		}
	}
	return specs.LinuxNamespace{}, false
}

// sizeOf returns how much the file system at path can hold, in bytes.
func sizeOf(path string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return st.Blocks * uint64(st.Bsize), nil
}
