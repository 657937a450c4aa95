// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// cgroupsPath is the path of the cgroups that an encoded spec asks for, if it says.
func cgroupsPath(encoded []byte) string {
	var spec struct {
		Linux struct {
			CgroupsPath string `json:"cgroupsPath"`
		} `json:"linux"`
	}
	if err := json.Unmarshal(encoded, &spec); err != nil {
		return ""
	}
	return spec.Linux.CgroupsPath
}

// emptyTimeout bounds how long the last process of a cgroup may take to be gone.
const emptyTimeout = 2 * time.Second

// removeCgroups removes the cgroups at path, as a spec's linux.cgroupsPath has
// it, from every hierarchy. runc that is killed before it has written down what
// it made leaves them, and knows nothing of them after that. One that does not
// get empty is an error, and stays. A path that is not absolute is systemd's to
// clean.
func removeCgroups(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) == "/" {
		return nil
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return fmt.Errorf("remove cgroups %s: read mount table: %w", path, err)
	}
	deadline := time.Now().Add(emptyTimeout)
	var errs []error
	for _, m := range mounts {
		if strings.HasPrefix(m.Mountpoint, "/sys/fs/cgroup") {
			errs = append(errs, removeCgroup(filepath.Join(m.Mountpoint, filepath.Clean(path)), deadline))
		}
	}
	return errors.Join(errs...)
}

// removeCgroup removes one cgroup. That removes no process and no group below it.
func removeCgroup(dir string, deadline time.Time) error {
	for {
		err := unix.Rmdir(dir)
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.EROFS):
			return nil
		case !errors.Is(err, unix.EBUSY) || time.Now().After(deadline):
			return &os.PathError{Op: "remove cgroup", Path: dir, Err: err}
		}
		// There is no event for it in version 1.
		time.Sleep(10 * time.Millisecond)
	}
}
