// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package shadow

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Entry is one task in the registry.
type Entry struct {
	Namespace string `json:"namespace"`
	// Shim is the id of the pod's shim, ID that of the task.
	Shim string `json:"shim"`
	ID   string `json:"id"`
	// Pid is the shadow's process id on the DPU.
	Pid int `json:"pid"`
	// StartTime tells two processes with the same pid apart; see
	// proc_pid_stat(5), field 22.
	StartTime uint64 `json:"start_time"`
	// Inodes are the inode numbers of the shadow's own namespaces by the
	// names they have below /proc/<pid>/ns. Joined ones are left out.
	Inodes map[string]uint64 `json:"inodes"`
}

// Registry is a directory with a file per running task. Every DPU half writes
// its own entries and reads those of the others.
type Registry struct{ dir string }

// NewRegistry returns the registry in dir, which is made on first use.
func NewRegistry(dir string) Registry { return Registry{dir} }

// Add records e for the shadow s, completed with what /proc says of it.
// The returned function removes the entry.
func (r Registry) Add(e Entry, s *Shadow, own []string) (func(), error) {
	e.Pid = s.Pid()
	var err error
	if e.StartTime, err = startTime(e.Pid); err != nil {
		return nil, fmt.Errorf("register shadow of %s: %w", e.ID, err)
	}
	e.Inodes = map[string]uint64{}
	for _, name := range own {
		ino, err := inode(fmt.Sprintf("/proc/%d/ns/%s", e.Pid, name))
		if err != nil {
			return nil, fmt.Errorf("register shadow of %s: %w", e.ID, err)
		}
		e.Inodes[name] = ino
	}
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("register shadow of %s: %w", e.ID, err)
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, fmt.Errorf("register shadow of %s: %w", e.ID, err)
	}
	path := r.path(e.Pid)
	if err := os.WriteFile(path+".tmp", b, 0o600); err != nil {
		return nil, fmt.Errorf("register shadow of %s: %w", e.ID, err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return nil, fmt.Errorf("register shadow of %s: %w", e.ID, err)
	}
	return func() { os.Remove(path) }, nil
}

// Forget removes the entry that a DPU half which was killed has left of a task,
// and any other whose shadow is gone.
func (r Registry) Forget(ns, id string) error {
	entries, err := r.List()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Namespace != ns || e.ID != id {
			continue
		}
		if err := os.Remove(r.path(e.Pid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget shadow of %s: %w", id, err)
		}
	}
	return nil
}

// path is where the entry of the shadow with that pid is.
func (r Registry) path(pid int) string { return filepath.Join(r.dir, strconv.Itoa(pid)) }

// FindNamespace returns the task whose shadow owns the namespace at path, or
// errdefs.ErrNotFound. name is the namespace's name below /proc/<pid>/ns.
func (r Registry) FindNamespace(name, path string) (Entry, error) {
	if pid, ok := pidOf(path, name); ok {
		if e, err := r.get(pid); err == nil {
			return e, nil
		}
	}
	ino, err := inode(path)
	if err != nil {
		return Entry{}, err
	}
	entries, err := r.List()
	if err != nil {
		return Entry{}, err
	}
	for _, e := range entries {
		if e.Inodes[name] == ino {
			return e, nil
		}
	}
	return Entry{}, fmt.Errorf("%s namespace %s belongs to no task: %w", name, path, errdefs.ErrNotFound)
}

// List returns the live entries and removes those whose shadow is gone.
func (r Registry) List() ([]Entry, error) {
	files, err := os.ReadDir(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list shadows: %w", err)
	}
	var out []Entry
	for _, f := range files {
		pid, err := strconv.Atoi(f.Name())
		if err != nil {
			continue
		}
		if e, err := r.get(pid); err == nil {
			out = append(out, e)
		}
	}
	return out, nil
}

func (r Registry) get(pid int) (Entry, error) {
	path := r.path(pid)
	b, err := os.ReadFile(path)
	if err != nil {
		return Entry{}, fmt.Errorf("read shadow entry: %w", err)
	}
	var e Entry
	if err := json.Unmarshal(b, &e); err != nil {
		return Entry{}, fmt.Errorf("read shadow entry %s: %w", path, err)
	}
	if t, err := startTime(pid); err != nil || t != e.StartTime {
		os.Remove(path)
		return Entry{}, fmt.Errorf("shadow %d is gone: %w", pid, errdefs.ErrNotFound)
	}
	return e, nil
}

// pidOf returns the pid in a path like /proc/<pid>/ns/<name>.
func pidOf(path, name string) (int, bool) {
	rest, ok := strings.CutPrefix(filepath.Clean(path), "/proc/")
	if !ok {
		return 0, false
	}
	digits, ok := strings.CutSuffix(rest, "/ns/"+name)
	if !ok {
		return 0, false
	}
	pid, err := strconv.Atoi(digits)
	return pid, err == nil
}

func inode(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("stat namespace %s: %w", path, err)
	}
	return st.Ino, nil
}

func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The command name may hold spaces and parentheses: count after the last one.
	_, rest, ok := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	if !ok {
		return 0, fmt.Errorf("unexpected /proc/%d/stat", pid)
	}
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0, fmt.Errorf("unexpected /proc/%d/stat", pid)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}
