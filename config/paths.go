// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"path/filepath"
	"strings"
)

// maxSocketPath is the longest path a unix socket can have on Linux, in bytes.
const maxSocketPath = 107

// absolute reports a value that is not an absolute path and tells whether it
// is one.
func (d *document) absolute(key, path string) bool {
	switch {
	case path == "":
		d.report(key, "must not be empty; write an absolute path")
	case strings.ContainsRune(path, 0):
		d.report(key, "%q has a zero byte in it", path)
	case !filepath.IsAbs(path):
		d.report(key, "%q is not an absolute path", path)
	default:
		return true
	}
	return false
}

// socket reports a value that can't be a unix socket's path.
func (d *document) socket(key, path string) {
	if d.absolute(key, path) && len(path) > maxSocketPath {
		d.report(key, "the path has %d bytes, a unix socket's can have %d", len(path), maxSocketPath)
	}
}

// within tells whether path is dir or lies below it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
