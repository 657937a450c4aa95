// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package standin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Namespace is the namespace of the shims on the HOST.
const Namespace = "offload-runc"

const (
	recordName = "state.json"
	socketName = "task.sock"
	lockName   = "lock"
)

// record is what is kept of a container, in its directory.
type record struct {
	ID      string    `json:"id"`
	Bundle  string    `json:"bundle"`
	Rootfs  string    `json:"rootfs"`
	Pid     int       `json:"pid"` // the shadow's
	Created time.Time `json:"created"`
}

// states is the directory with a directory per container.
type states struct{ root string }

// dir returns a container's directory.
func (s states) dir(id string) (string, error) {
	if err := identifiers.Validate(id); err != nil {
		return "", fmt.Errorf("container id: %w", err)
	}
	return filepath.Join(s.root, id), nil
}

// claim makes a container's directory, which is locked for as long as the
// returned file is open: so a dead owner is told from a live one.
func (s states) claim(id string) (dir string, lock *os.File, err error) {
	if dir, err = s.dir(id); err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(s.root, 0o700); err != nil {
		return "", nil, fmt.Errorf("make state directory: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); errors.Is(err, fs.ErrExist) {
		return "", nil, fmt.Errorf("container %q: %w", id, errdefs.ErrAlreadyExists)
	} else if err != nil {
		return "", nil, fmt.Errorf("make state directory: %w", err)
	}
	lock, err = os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		os.RemoveAll(dir)
		return "", nil, fmt.Errorf("lock state of container %q: %w", id, err)
	}
	return dir, lock, nil
}

// owned tells whether the process that claimed a container lives.
func (s states) owned(id string) bool {
	f, err := os.Open(filepath.Join(s.root, id, lockName))
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}

func (s states) write(r record) error {
	dir, err := s.dir(r.ID)
	if err != nil {
		return err
	}
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode state of container %q: %w", r.ID, err)
	}
	path := filepath.Join(dir, recordName)
	if err := os.WriteFile(path+".tmp", b, 0o600); err != nil {
		return fmt.Errorf("write state of container %q: %w", r.ID, err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("write state of container %q: %w", r.ID, err)
	}
	return nil
}

func (s states) read(id string) (record, error) {
	var r record
	dir, err := s.dir(id)
	if err != nil {
		return r, err
	}
	b, err := os.ReadFile(filepath.Join(dir, recordName))
	if errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("container does not exist: %q: %w", id, errdefs.ErrNotFound)
	}
	if err != nil {
		return r, fmt.Errorf("read state of container %q: %w", id, err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("read state of container %q: %w", id, err)
	}
	return r, nil
}

// list returns the ids of all containers.
func (s states) list() ([]string, error) {
	entries, err := os.ReadDir(s.root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids, nil
}

func (s states) remove(id string) error {
	dir, err := s.dir(id)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove state of container %q: %w", id, err)
	}
	return nil
}
