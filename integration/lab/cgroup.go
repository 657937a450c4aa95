// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// hierarchy is one mounted cgroup hierarchy of the machine.
type hierarchy struct {
	// Mount is where it is mounted, on the machine as in an environment.
	Mount string
	// Type is cgroup or cgroup2.
	Type string
	// Options are the mount options that name it, such as "cpu,cpuacct" or "none,name=systemd". Empty for cgroup2.
	Options string
}

// unified tells whether h is the only hierarchy there is, with all the controllers.
func (h hierarchy) unified() bool { return h.Type == "cgroup2" && h.Mount == cgroupRoot }

// leaf is the group, below an environment's, that its processes are in. Where version 2 controllers are used, a group
// that has processes can't have children with controllers.
func (h hierarchy) leaf(group string) string {
	dir := filepath.Join(h.Mount, group)
	if h.unified() {
		return filepath.Join(dir, "init")
	}
	return dir
}

// machineHierarchies lists the hierarchies mounted on this machine.
func machineHierarchies() ([]hierarchy, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list cgroup hierarchies: %w", err)
	}
	defer f.Close()
	hs, err := parseHierarchies(f)
	if err == nil && len(hs) == 0 {
		err = fmt.Errorf("no cgroup hierarchy is mounted below %s", cgroupRoot)
	}
	return hs, err
}

// parseHierarchies finds the cgroup mounts below /sys/fs/cgroup in the text of a mountinfo file.
func parseHierarchies(mountinfo io.Reader) ([]hierarchy, error) {
	var hs []hierarchy
	seen := map[string]bool{}
	lines := bufio.NewScanner(mountinfo)
	for lines.Scan() {
		front, back, ok := strings.Cut(lines.Text(), " - ")
		fields, super := strings.Fields(front), strings.Fields(back)
		if !ok || len(fields) < 5 || len(super) < 3 || !strings.HasPrefix(super[0], "cgroup") {
			continue
		}
		mount := fields[4]
		if seen[mount] || (mount != cgroupRoot && filepath.Dir(mount) != cgroupRoot) {
			continue
		}
		seen[mount] = true
		hs = append(hs, hierarchy{Mount: mount, Type: super[0], Options: hierarchyOptions(super[0], super[2])})
	}
	return hs, lines.Err()
}

// hierarchyOptions keeps, of a version 1 mount's options, those that say which hierarchy it is.
func hierarchyOptions(fstype, options string) string {
	if fstype != "cgroup" {
		return ""
	}
	var keep []string
	for option := range strings.SplitSeq(options, ",") {
		switch {
		case option == "rw", option == "ro", option == "xattr", option == "noprefix", option == "clone_children",
			strings.HasPrefix(option, "release_agent="):
		case strings.HasPrefix(option, "name="):
			keep = append(keep, "none", option)
		default:
			keep = append(keep, option)
		}
	}
	return strings.Join(keep, ",")
}

// createGroup makes the group, and its parents, in every hierarchy, ready to take processes.
func createGroup(hs []hierarchy, group string) error {
	for _, h := range hs {
		dir := h.Mount
		for name := range strings.SplitSeq(group, "/") {
			if err := prepareChildren(h, dir); err != nil {
				return err
			}
			dir = filepath.Join(dir, name)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("create cgroup: %w", err)
			}
			if err := inheritCpuset(dir); err != nil {
				return err
			}
		}
		if h.unified() {
			if err := os.Mkdir(h.leaf(group), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("create cgroup: %w", err)
			}
		}
	}
	return nil
}

// prepareChildren lets the children of a version 2 group have the controllers that it has itself.
func prepareChildren(h hierarchy, dir string) error {
	if !h.unified() {
		return nil
	}
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read controllers: %w", err)
	}
	for controller := range strings.FieldsSeq(string(have)) {
		// Some controllers refuse in some places (rt tasks, thread domains); the others are still worth having.
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
	}
	return nil
}

// inheritCpuset copies the parent's cpus and memory nodes: a version 1 cpuset starts with none and takes no process.
func inheritCpuset(dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || strings.TrimSpace(string(own)) != "" {
			continue
		}
		parent, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if err != nil || strings.TrimSpace(string(parent)) == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), parent, 0o644); err != nil {
			return fmt.Errorf("set %s of %s: %w", name, dir, err)
		}
	}
	return nil
}

// moveProcess puts a whole process into the group of every hierarchy, not into the leaf: its cgroup namespace is to
// start there.
func moveProcess(hs []hierarchy, group string, pid int) error {
	for _, h := range hs {
		procs := filepath.Join(h.Mount, group, "cgroup.procs")
		if err := os.WriteFile(procs, []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return fmt.Errorf("move process %d: %w", pid, err)
		}
	}
	return nil
}

// joinThread puts the calling thread into the group of every version 1 hierarchy, so that what it forks starts there,
// and returns the group's directory in the version 2 hierarchy, or nil if there is none: a thread alone can't move
// there, but a child can be born there.
func joinThread(hs []hierarchy, group string) (*os.File, error) {
	var v2 *os.File
	for _, h := range hs {
		if h.Type == "cgroup2" {
			dir, err := os.Open(h.leaf(group))
			if err != nil {
				return nil, fmt.Errorf("join cgroup: %w", err)
			}
			v2 = dir
			continue
		}
		tasks := filepath.Join(h.Mount, group, "tasks")
		if err := os.WriteFile(tasks, []byte(strconv.Itoa(unix.Gettid())), 0o644); err != nil {
			if v2 != nil {
				v2.Close()
			}
			return nil, fmt.Errorf("join cgroup: %w", err)
		}
	}
	return v2, nil
}

// groupProcesses lists the pids, as the machine sees them, of all processes in the group or below it.
func groupProcesses(hs []hierarchy, group string) []int {
	seen := map[int]bool{}
	var pids []int
	for _, h := range hs {
		walkGroup(filepath.Join(h.Mount, group), func(dir string) {
			text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			for field := range strings.FieldsSeq(string(text)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 0 && !seen[pid] {
					seen[pid] = true
					pids = append(pids, pid)
				}
			}
		})
	}
	return pids
}

// walkGroup calls visit for the directory and every one below it, children first.
func walkGroup(dir string, visit func(dir string)) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if entry.IsDir() {
			walkGroup(filepath.Join(dir, entry.Name()), visit)
		}
	}
	visit(dir)
}

// removeGroup kills whatever is left in the group and removes it from every hierarchy.
func removeGroup(hs []hierarchy, group string, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		for _, pid := range groupProcesses(hs, group) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		var last error
		for _, h := range hs {
			walkGroup(filepath.Join(h.Mount, group), func(dir string) {
				thaw(dir)
				if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
					last = err
				}
			})
		}
		if last == nil || time.Now().After(deadline) {
			return last
		}
		// A killed process leaves its cgroup a moment later, and there is no event to wait for across hierarchies.
		time.Sleep(5 * time.Millisecond)
	}
}

// thaw lets frozen processes of a version 1 group run, without which a kill does not reach them.
func thaw(dir string) {
	state := filepath.Join(dir, "freezer.state")
	if text, err := os.ReadFile(state); err == nil && strings.TrimSpace(string(text)) != "THAWED" {
		_ = os.WriteFile(state, []byte("THAWED"), 0o644)
	}
}
