// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// OverheadMemory is the memory, in bytes, of every process of the environment that is not in a container: daemons,
// agents, shims and shadows. A page that several processes share counts in parts (PSS), so no other lab may be up that
// runs the same programs.
func (e *Env) OverheadMemory() (int64, error) {
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", e.pid))
	if err != nil {
		return 0, fmt.Errorf("measure memory of %s: %w", e.name, err)
	}
	var sum int64
	for _, pid := range groupProcesses(e.hierarchies, e.group) {
		if pid == e.pid {
			continue // The lab's own.
		}
		// A process may end meanwhile; then it takes nothing.
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); err != nil || ns != own {
			continue
		}
		size, err := proportional(pid)
		if err != nil {
			continue
		}
		sum += size
	}
	return sum, nil
}

// proportional is a process's proportional set size in bytes.
func proportional(pid int) (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == "Pss:" {
			size, err := strconv.ParseInt(fields[1], 10, 64)
			return size << 10, err
		}
	}
	return 0, fmt.Errorf("no size of process %d: %w", pid, lines.Err())
}
