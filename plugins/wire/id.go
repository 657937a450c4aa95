// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// SnapshotsDir is the directory below the HOST's tree, and below the DPU's
// mount of it, that has one entry for each mounted snapshot.
const SnapshotsDir = "snapshots"

// ID is a snapshot's numeric id on the HOST. Ids start at 1 and are never
// used twice by one store. The zero ID stands for no snapshot.
type ID uint64

// String gives the id in decimal, as it is spelled in the tree.
func (id ID) String() string { return strconv.FormatUint(uint64(id), 10) }

// Source gives the snapshot's path relative to the tree, as it appears in the
// mounts the store answers with.
func (id ID) Source() string { return SnapshotsDir + "/" + id.String() }

// ParseID reads an id in its only spelling: decimal, without sign, leading
// zeros or surrounding space, and not zero.
func ParseID(s string) (ID, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 || ID(n).String() != s {
		return 0, fmt.Errorf("snapshot id %s is not a positive decimal number: %w", quote(s), errdefs.ErrInvalidArgument)
	}
	return ID(n), nil
}

// ParseSource reads the id out of a path as [ID.Source] spells it.
func ParseSource(s string) (ID, error) {
	name, ok := strings.CutPrefix(s, SnapshotsDir+"/")
	if !ok {
		return 0, fmt.Errorf("mount source %s is not below %q: %w", quote(s), SnapshotsDir+"/", errdefs.ErrInvalidArgument)
	}
	return ParseID(name)
}

// quote spells foreign text for an error message, shortened and escaped.
func quote(s string) string {
	const most = 128
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "…"
	}
	return strconv.QuoteToASCII(s)
}
