// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// PayloadLabel is the label of the file system on a machine's second disk.
const PayloadLabel = "payload"

// stockUnits are the units of containerd and dockerd, which their packages bring on a real machine.
//
//go:embed stock
var stockUnits embed.FS

// payloadFiles are what a payload has of the repository, as directory in the payload and files of the repository.
type payloadFiles map[string][]string

// ours are the programs of each machine's package and what belongs to them, for when the packages were not built.
var ours = map[string]payloadFiles{
	"host": {
		"bin": {
			"build/bin/offload-host", "build/bin/containerd-shim-offload-host", "build/bin/offloadctl", "build/bin/rexec",
			"build/bin/udsbridge",
		},
		"unit": {"configs/systemd/offload-host.service"},
	},
	"dpu": {
		"bin": {
			"build/bin/offload-dpu", "build/bin/containerd-shim-offload-v1", "build/bin/offload-runc", "build/bin/offloadctl",
			"build/bin/rexec", "build/bin/udsbridge",
		},
		"unit": {"configs/systemd/offload-dpu.service", "configs/systemd/offload-dpu.socket"},
	},
}

// others are the files of each machine that no package of ours has: the stock programs, which are newer than Debian's,
// and what a user copies into place.
var others = map[string]payloadFiles{
	"host": {},
	"dpu": {
		"bin": {
			"build/components/bin/containerd", "build/components/bin/ctr", "build/components/bin/dockerd",
			"build/components/bin/docker", "build/components/bin/docker-init", "build/components/bin/docker-proxy",
		},
		"unit/containerd.service.d": {"configs/systemd/containerd.service.d/offload.conf"},
		"unit/docker.service.d":     {"configs/systemd/docker.service.d/offload.conf"},
		"etc":                       {"configs/offload.toml", "configs/daemon.json"},
		"images":                    {"build/images/busybox.tar"},
	},
}

// stage fills dir with a machine's payload from the repository at root: with our package, or if there is none with
// what would be in it.
func stage(dir, root, machine string) error {
	files := []payloadFiles{others[machine], ours[machine]}
	pattern := filepath.Join("build/deb", "offload-"+machine+"_*_"+runtime.GOARCH+".deb")
	packages, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil {
		return err
	}
	switch len(packages) {
	case 0:
	case 1:
		files[1] = payloadFiles{"deb": {filepath.Join("build/deb", filepath.Base(packages[0]))}}
	default:
		return fmt.Errorf("stage %s: %d files are named %s, not one: remove the old ones", machine, len(packages), pattern)
	}
	for _, some := range files {
		if err := stageFiles(dir, root, some); err != nil {
			return fmt.Errorf("stage for %s: %w", machine, err)
		}
	}
	if machine != dpuRole.name {
		return nil
	}
	units, err := fs.Sub(stockUnits, "stock")
	if err != nil {
		return err
	}
	return os.CopyFS(filepath.Join(dir, "unit"), units)
}

func stageFiles(dir, root string, files payloadFiles) error {
	for to, some := range files {
		if err := os.MkdirAll(filepath.Join(dir, to), 0o755); err != nil {
			return err
		}
		for _, file := range some {
			if err := linkOrCopy(filepath.Join(root, file), filepath.Join(dir, to, filepath.Base(file))); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return nil
}

// linkOrCopy gives a file another name, or copies it where that is on another file system. What it is given may be a
// symbolic link; what it makes is not.
func linkOrCopy(from, to string) error {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	return errors.Join(copyFile(from, to), os.Chmod(to, info.Mode().Perm()))
}

// treeSize is how much the files below dir have in them, and their directories' entries.
func treeSize(dir string) (int64, error) {
	const perEntry = 4096
	var size int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		size += perEntry
		if info.Mode().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	return size, err
}
