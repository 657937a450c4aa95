// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"

	"github.com/container-offload/offload/plugins/wire"
)

// marker is the file that stands beside a snapshot's own directory while a layer
// is being unpacked into it, and stays if that fails or the process dies.
const marker = "unpacking"

func (s *Store) markerPath(id wire.ID) string {
	return filepath.Join(s.root, "snapshots", id.String(), marker)
}

// complete fails if unpacking into the snapshot has begun and not ended well.
func (s *Store) complete(id wire.ID) error {
	_, err := os.Lstat(s.markerPath(id))
	if err == nil {
		return fmt.Errorf("snapshot %s holds a layer that was not completely unpacked, it can only be removed: %w", id, errdefs.ErrFailedPrecondition)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("snapshot %s: %w", id, err)
	}
	return nil
}

// begin marks the snapshot as one that is being unpacked into.
func (s *Store) begin(id wire.ID) error {
	f, err := os.OpenFile(s.markerPath(id), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// end takes the mark away.
func (s *Store) end(id wire.ID) error { return os.Remove(s.markerPath(id)) }
