// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mappedRoot returns the group that the container's root is on this machine, if it
// has a user namespace in which that is another than here.
func mappedRoot(spec *specs.Spec) (gid int, ok bool) {
	if spec.Linux == nil {
		return 0, false
	}
	for _, m := range spec.Linux.GIDMappings {
		if m.ContainerID == 0 && m.Size > 0 && m.HostID != 0 {
			return int(m.HostID), true
		}
	}
	return 0, false
}

// reachableRoot makes the file system at root reachable for the container's root
// alone, and returns where. The store's own path is closed to all but this
// machine's root, since a setuid program of an image is nobody else's here.
func reachableRoot(bundle, root string, gid int) (string, error) {
	if err := os.Chown(bundle, -1, gid); err != nil {
		return "", fmt.Errorf("give bundle to group %d: %w", gid, err)
	}
	if err := os.Chmod(bundle, 0o710); err != nil {
		return "", fmt.Errorf("give bundle to group %d: %w", gid, err)
	}
	dir := filepath.Join(bundle, "rootfs")
	if err := os.Mkdir(dir, 0o711); err != nil {
		return "", fmt.Errorf("make mount point: %w", err)
	}
	if err := unix.Mount(root, dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return "", fmt.Errorf("bind %s: %w", root, err)
	}
	return dir, nil
}
