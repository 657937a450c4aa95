// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ProcessInfo is a process of an environment at one moment.
type ProcessInfo struct {
	// Pid is its pid on the machine, Inside the one that the environment knows it by.
	Pid, Inside int
	// Args is its command line; a zombie has none.
	Args []string
	// Zombie tells that it has ended and nobody has asked how.
	Zombie bool
	// Container tells that it is in a container's pid namespace rather than in the environment's.
	Container bool
	// FDs and Threads are how many it has, Memory its resident set in bytes.
	FDs, Threads int
	Memory       int64
}

// Processes lists the environment's processes but for its pid 1. One that ends meanwhile is left out.
func (e *Env) Processes() ([]ProcessInfo, error) {
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", e.pid))
	if err != nil {
		return nil, fmt.Errorf("list processes of %s: %w", e.name, err)
	}
	var all []ProcessInfo
	for _, pid := range groupProcesses(e.hierarchies, e.group) {
		if pid == e.pid {
			continue
		}
		if p, ok := examine(pid, own); ok {
			all = append(all, p)
		}
	}
	return all, nil
}

// examine reads what /proc tells of a process.
func examine(pid int, namespace string) (p ProcessInfo, ok bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return p, false
	}
	p.Pid = pid
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		if len(fields) == 0 {
			continue
		}
		switch key {
		case "State":
			p.Zombie = fields[0] == "Z"
		case "NSpid":
			// From the machine's pid inwards; the environment's is the second.
			p.Inside, _ = strconv.Atoi(fields[min(1, len(fields)-1)])
			p.Container = len(fields) > 2
		case "Threads":
			p.Threads, _ = strconv.Atoi(fields[0])
		case "VmRSS":
			p.Memory, _ = strconv.ParseInt(fields[0], 10, 64)
			p.Memory <<= 10
		}
	}
	if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); err == nil && ns != namespace {
		p.Container = true
	}
	command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if command = bytes.TrimRight(command, "\x00"); len(command) > 0 {
		p.Args = strings.Split(string(command), "\x00")
	}
	fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	p.FDs = len(fds)
	return p, true
}
