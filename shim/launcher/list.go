// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Pod is a pod's directory and the half that made it.
type Pod struct {
	Namespace, ID string
	// Dir is the directory.
	Dir string
	// PID is the half's; it may have died and left the directory.
	PID int
}

// Idle returns the pids of the halves that wait for a pod.
func (l *Launcher) Idle() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	pids := make([]int, len(l.idle))
	for i, h := range l.idle {
		pids[i] = h.cmd.Process.Pid
	}
	return pids
}

// Pods returns the pods there are, in no particular order. One that is just made
// or removed may be missing.
func (l *Launcher) Pods() ([]Pod, error) {
	files, err := filepath.Glob(filepath.Join(PodDir(l.cfg.State, "*", "*"), PIDFile))
	if err != nil {
		return nil, fmt.Errorf("list shims: %w", err)
	}
	var pods []Pod
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list shims: %w", err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			continue // it is just being written
		}
		dir := filepath.Dir(file)
		pods = append(pods, Pod{
			Namespace: filepath.Base(filepath.Dir(dir)), ID: filepath.Base(dir), Dir: dir, PID: pid,
		})
	}
	return pods, nil
}
