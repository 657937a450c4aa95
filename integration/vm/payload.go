// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"io/fs"
	"path/filepath"
)

// PayloadLabel is the label of the file system on a machine's second disk.
const PayloadLabel = "payload"

// treeSize is how much the files below dir have in them, and their directories' entries.
func treeSize(dir string) (int64, error) {
	const perEntry = 4096
	var size int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		size += perEntry
		if info.Mode().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	return size, err
}
