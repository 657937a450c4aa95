// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package processes

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// PodEnv is the environment variable that names a DPU half's pod.
const PodEnv = "OFFLOAD_SHIM_GROUP"

// dpuHalf is the file name of the DPU half's program.
const dpuHalf = "containerd-shim-offload-v1"

// Half is the DPU half of a pod's shim.
type Half struct {
	// Namespace is containerd's; ID is the pod's.
	Namespace, ID string
	PID           int
	Started       time.Time
}

// DPUHalves returns the DPU halves that run on this machine, in no particular
// order. Those that have just begun or are about to end may be missing.
func DPUHalves() ([]Half, error) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for shims: %w", err)
	}
	var found []Half
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || !Runs(pid, dpuHalf) {
			continue
		}
		if h, ok := dpuHalfOf(pid); ok {
			found = append(found, h)
		}
	}
	return found, nil
}

// Runs tells whether a process runs a program of that file name, one that was
// replaced meanwhile included.
func Runs(pid int, program string) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && filepath.Base(strings.TrimSuffix(exe, " (deleted)")) == program
}

// dpuHalfOf reads what the process was started with. The program is a DPU half
// only if it names a pod: it also runs for moments to start and to delete one.
func dpuHalfOf(pid int) (Half, bool) {
	h := Half{PID: pid}
	h.ID = value(pid, "environ", func(word string) (string, bool) { return strings.CutPrefix(word, PodEnv+"=") })
	isNext := false
	h.Namespace = value(pid, "cmdline", func(word string) (string, bool) {
		took := isNext
		isNext = word == "-namespace"
		return word, took
	})
	var err error
	h.Started, err = Started(pid)
	return h, err == nil && h.ID != "" && h.Namespace != ""
}

// value returns the first word of a file of /proc/<pid>, whose words end with
// zero bytes, that match takes.
func value(pid int, file string, match func(word string) (string, bool)) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return ""
	}
	for word := range bytes.SplitSeq(b, []byte{0}) {
		if v, ok := match(string(word)); ok {
			return v
		}
	}
	return ""
}

// ticks is the unit of times in /proc/<pid>/stat, a second's part; Linux has the
// same on every architecture that offload runs on.
const ticks = 100

// startField is the index of a process's start in the fields behind its name; see
// proc_pid_stat(5), field 22.
const startField = 19

// Started returns when a process was started.
func Started(pid int) (time.Time, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return time.Time{}, fmt.Errorf("look at process: %w", err)
	}
	// The name may hold spaces and parentheses.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) <= startField {
		return time.Time{}, fmt.Errorf("unexpected /proc/%d/stat", pid)
	}
	start, err := strconv.ParseInt(fields[startField], 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("unexpected /proc/%d/stat: %w", pid, err)
	}
	boot, err := bootTime()
	if err != nil {
		return time.Time{}, err
	}
	return boot.Add(time.Duration(start) * time.Second / ticks), nil
}

func bootTime() (time.Time, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}, fmt.Errorf("look for the boot time: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "btime "); ok {
			sec, err := strconv.ParseInt(v, 10, 64)
			return time.Unix(sec, 0), err
		}
	}
	return time.Time{}, fmt.Errorf("/proc/stat has no btime")
}
