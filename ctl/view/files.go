// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"os"
	"path/filepath"
)

// anchor is the directory on which a private file system is mounted. It lies on
// /proc because that is a mount which is cut off from other namespaces anyway: a
// mount anywhere else would show up in all of them.
const anchor = "/proc/fs"

// Where things are on the private file system.
const (
	binDir    = anchor + "/bin"
	procDir   = anchor + "/proc"
	cgroupDir = anchor + "/cgroup"
	aboutDir  = anchor + "/machine"
	// osRelease lies over /etc/os-release and is a copy of the HOST's.
	osRelease = anchor + "/os-release"
)

// cgroupRoot is where control groups are mounted.
const cgroupRoot = "/sys/fs/cgroup"

// procFiles are the files of the HOST's /proc that a daemon is shown, and what
// dockerd takes from each:
//   - stat: the time of all processors, for the percentages of docker stats;
//   - meminfo: the memory in docker info, and limits that are checked against it;
//   - sys/kernel/threads-max: the pids limit of docker stats without a limit.
var procFiles = []string{"stat", "meminfo", "sys/kernel/threads-max"}

// cpusetFiles are the files of the HOST's control groups that say which of its
// processors and memory nodes there are, in either version: dockerd refuses a
// container what is not in them. The first two are of version 2.
var cpusetFiles = []string{
	"cpuset.cpus.effective", "cpuset.mems.effective", "cpuset/cpuset.cpus", "cpuset/cpuset.mems",
}

// Link is a name in PATH and the program that stands behind it.
type Link struct{ Name, Program string }

// links returns stand-ins for programs that must run on the HOST, those whose
// program is in dir, which is that of this program.
func links(dir string) []Link {
	var out []Link
	for _, l := range []Link{
		{"ps", "rexec"},          // docker top
		{"runc", "offload-runc"}, // BuildKit, docker info
	} {
		program := filepath.Join(dir, l.Program)
		if info, err := os.Stat(program); err == nil && info.Mode().IsRegular() {
			out = append(out, Link{l.Name, program})
		}
	}
	return out
}
