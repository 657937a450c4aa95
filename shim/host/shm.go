// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/shim/launcher"
)

// shmDir is the name, in a bundle, of the container's shared memory.
const shmDir = "shm"

// makeShm makes shared memory of up to size bytes in a bundle, with which it is
// removed. Containers that were given it keep it.
func makeShm(bundle string, size uint64) (string, error) {
	dir := filepath.Join(bundle, shmDir)
	if err := os.Mkdir(dir, 0o711); err != nil {
		return "", fmt.Errorf("make shared memory: %w", err)
	}
	data := fmt.Sprintf("mode=1777,size=%d", size)
	if err := unix.Mount("shm", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, data); err != nil {
		return "", errors.Join(fmt.Errorf("make shared memory of %d bytes: %w", size, err), os.Remove(dir))
	}
	return dir, nil
}

// shmOf returns the shared memory of another container of this DPU's.
func (h *half) shmOf(shim, id string) (string, error) {
	dir := filepath.Join(launcher.PodDir(h.cfg.Shim.State, h.target.Namespace, shim), tasksDir, id, shmDir)
	mounted, err := mountinfo.Mounted(dir)
	if err == nil && !mounted {
		err = os.ErrNotExist
	}
	if err != nil {
		return "", fmt.Errorf("find shared memory of container %q: %w", id, err)
	}
	return dir, nil
}
