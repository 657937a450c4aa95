// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// reserveSize is what the store keeps of the disk for itself. Forgetting a
// snapshot writes a few pages of metadata; without them a full disk could never
// be emptied.
const reserveSize = 2 << 20

func (s *Store) reservePath() string { return filepath.Join(s.root, "reserve") }

// keepReserve makes the reserve if it is not there. That the disk is too full
// for it is no error: it is tried again after the next cleanup.
func (s *Store) keepReserve() error {
	f, err := os.OpenFile(s.reservePath(), os.O_CREATE|os.O_WRONLY, 0o600)
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reserve disk space: %w", err)
	}
	defer f.Close()
	err = unix.Fallocate(int(f.Fd()), 0, 0, reserveSize)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return os.Remove(s.reservePath())
	case err != nil:
		return fmt.Errorf("reserve disk space: %w", &os.PathError{Op: "fallocate", Path: s.reservePath(), Err: err})
	}
	return nil
}

// withReserve runs change, and runs it again on the reserve if the disk is full.
func (s *Store) withReserve(change func() error) error {
	err := change()
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	if rerr := os.Remove(s.reservePath()); rerr != nil {
		return err
	}
	s.log.Warn("the disk is full, using what was kept of it to free some", "root", s.root)
	return change()
}
