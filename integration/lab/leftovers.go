// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Observation is what is there at one moment: a line for each mount, process, network namespace, link, cgroup and
// directory of interest.
type Observation map[string]bool

// Since lists what is there now and was not before, sorted.
func (now Observation) Since(before Observation) []string {
	var lines []string
	for line := range now {
		if !before[line] {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

// ObserveMachine looks at the whole machine. What others do on it meanwhile shows too, so a difference between two
// observations means something only on a machine that is otherwise idle.
func ObserveMachine() (Observation, error) {
	o := Observation{}
	if err := o.mounts("/proc/self/mountinfo"); err != nil {
		return nil, err
	}
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("observe links: %w", err)
	}
	for _, link := range links {
		o["link "+link.Name] = true
	}
	pids, err := machinePids()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		o.process(pid)
	}
	walkGroup(cgroupRoot, func(dir string) { o["cgroup "+dir] = true })
	for _, pattern := range []string{"/run/*", "/run/netns/*", "/tmp/*", "/var/lib/*", "/etc/*", BaseDir() + "/*"} {
		o.paths("path", pattern)
	}
	return o, nil
}

// Observe looks inside the environment: mounts, processes and their network namespaces, cgroups below its own, and
// what daemons keep on disk and in memory for each container.
func (e *Env) Observe() (Observation, error) {
	o := Observation{}
	if err := o.mounts(fmt.Sprintf("/proc/%d/mountinfo", e.pid)); err != nil {
		return nil, err
	}
	for _, pid := range groupProcesses(e.hierarchies, e.group) {
		o.equalProcess(pid)
	}
	for _, h := range e.hierarchies {
		walkGroup(filepath.Join(h.Mount, e.group), func(dir string) { o["cgroup "+dir] = true })
	}
	return o, e.Do(func() error {
		for _, pattern := range []string{
			"/run/containerd/io.containerd.runtime.v2.task/*/*", "/var/lib/containerd/io.containerd.runtime.v2.task/*/*",
			"/run/containerd/runc/*/*", "/run/containerd/fifo/*", "/run/containerd/s/*", "/run/docker/netns/*",
			"/run/netns/*", "/run/docker/containerd/*", "/var/lib/docker/containers/*", "/var/lib/docker/rootfs/*/*",
			// What is above these is made with the first container of a namespace and kept.
			"/run/offload/*", "/run/offload/*/*/*", "/tmp/*", "/dev/shm/*",
		} {
			o.paths("path", pattern)
		}
		return nil
	})
}

// Traces lists what is left on the machine of the lab with the ID, and is empty when it is gone for good. It finds
// what can be told to be that lab's by its name, whatever else happens on the machine.
func Traces(id string) ([]string, error) {
	var traces []string
	walkGroup(cgroupRoot, func(dir string) {
		if strings.Contains(dir, groupPrefix+id) {
			traces = append(traces, "cgroup "+dir)
		}
	})
	dir := filepath.Join(BaseDir(), id)
	if exists(dir) {
		traces = append(traces, "path "+dir)
	}
	pids, err := machinePids()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		proc := fmt.Sprintf("/proc/%d/", pid)
		variables, _ := os.ReadFile(proc + "environ")
		mounts, _ := os.ReadFile(proc + "mountinfo")
		command, _ := os.ReadFile(proc + "cmdline")
		if bytes.Contains(variables, []byte(labVariable+"="+id)) || bytes.Contains(mounts, []byte(dir)) ||
			bytes.HasPrefix(command, []byte(janitorName+"\x00"+dir)) {
			traces = append(traces, describe(pid))
		}
	}
	return traces, nil
}

func (now Observation) mounts(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("observe mounts: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		front, back, _ := strings.Cut(lines.Text(), " - ")
		if fields, super := strings.Fields(front), strings.Fields(back); len(fields) > 4 && len(super) > 1 {
			now["mount "+super[0]+" on "+fields[4]] = true
		}
	}
	return nil
}

func (now Observation) process(pid int) {
	line := describe(pid)
	if line == "" {
		return
	}
	now[line] = true
	if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil {
		now["network namespace "+ns] = true
	}
}

// equalProcess notes a process by its command and the number of those before it, so that one which took another's
// place, as a daemon started again or a shim kept in reserve does, makes no difference.
func (now Observation) equalProcess(pid int) {
	words := commandLine(pid)
	if words == "" {
		return // A zombie, or gone.
	}
	for number := 1; ; number++ {
		line := fmt.Sprintf("process %s (number %d)", words, number)
		if !now[line] {
			now[line] = true
			break
		}
	}
	if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil {
		now["network namespace "+ns] = true
	}
}

// commandLine is what a process was started with, shortened.
func commandLine(pid int) string {
	command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	words := strings.TrimSpace(string(bytes.ReplaceAll(command, []byte{0}, []byte{' '})))
	if len(words) > 120 {
		words = words[:120]
	}
	return words
}

func (now Observation) paths(kind, pattern string) {
	found, _ := filepath.Glob(pattern)
	for _, path := range found {
		now[kind+" "+path] = true
	}
}

// machinePids lists the processes of the machine, those of its kernel not included.
func machinePids() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("observe processes: %w", err)
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if _, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); errors.Is(err, os.ErrNotExist) {
			continue // A thread of the kernel, a zombie, or gone.
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// describe names a process, with its start time because pids come again. It is empty if there is none.
func describe(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	start := ""
	if fields := strings.Fields(after); len(fields) > 19 {
		start = fields[19]
	}
	return fmt.Sprintf("process %d (since %s) %s", pid, start, commandLine(pid))
}
