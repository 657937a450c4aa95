// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Export is a directory of the HOST that the DPU may mount.
type Export struct {
	// Name is what the DPU asks for.
	Name string `toml:"name"`
	// Path is the directory.
	Path string `toml:"path"`
	// ReadOnly refuses every change.
	ReadOnly bool `toml:"read_only"`
	// Allow are the operations that are allowed, separated by commas; all if it is
	// empty.
	Allow string `toml:"allow"`
	// Squash is UID:GID, as whom everything is done, or empty; see [ParseUser].
	Squash string `toml:"squash"`
	// UIDMap and GIDMap say which ids of the DPU are which here, or are empty; see
	// [ParseIDMap].
	UIDMap string `toml:"uid_map"`
	GIDMap string `toml:"gid_map"`
	// OneFileSystem shows the directories that other file systems are mounted on
	// instead of these.
	OneFileSystem bool `toml:"one_file_system"`
}

// exportOperations are what Export.Allow may name.
var exportOperations = []string{
	"open", "read", "write", "readdir", "mkdir", "rmdir", "create", "unlink", "rename", "setattr", "setxattr",
}

// IDRange says that Count ids of the DPU, from DPU on, are those from HOST on
// here.
type IDRange struct{ DPU, Host, Count uint32 }

// maxIDRanges is what the kernel takes.
const maxIDRanges = 340

// ParseIDMap understands DPU:HOST:COUNT,…
func ParseIDMap(text string) ([]IDRange, error) {
	var ranges []IDRange
	if text == "" {
		return nil, nil
	}
	for one := range strings.SplitSeq(text, ",") {
		n, err := numbers(strings.TrimSpace(one), 3)
		if err != nil || n[2] == 0 || n[0] > 1<<32-1-n[2] || n[1] > 1<<32-1-n[2] {
			return nil, fmt.Errorf("%q is not DPU:HOST:COUNT, three numbers of 32 bits that make two ranges", one)
		}
		ranges = append(ranges, IDRange{uint32(n[0]), uint32(n[1]), uint32(n[2])})
	}
	if len(ranges) > maxIDRanges {
		return nil, fmt.Errorf("%d ranges are more than %d", len(ranges), maxIDRanges)
	}
	for i, a := range ranges {
		for _, b := range ranges[:i] {
			if meet(a.DPU, b.DPU, a.Count, b.Count) || meet(a.Host, b.Host, a.Count, b.Count) {
				return nil, fmt.Errorf("%d:%d:%d and %d:%d:%d have an id in common", b.DPU, b.Host, b.Count, a.DPU, a.Host, a.Count)
			}
		}
	}
	return ranges, nil
}

func meet(a, b, countA, countB uint32) bool {
	return uint64(a) < uint64(b)+uint64(countB) && uint64(b) < uint64(a)+uint64(countA)
}

// ParseUser understands UID:GID.
func ParseUser(text string) (uid, gid uint32, err error) {
	n, err := numbers(text, 2)
	if err != nil || n[0] == 1<<32-1 || n[1] == 1<<32-1 {
		return 0, 0, fmt.Errorf("%q is not UID:GID", text)
	}
	return uint32(n[0]), uint32(n[1]), nil
}

// numbers understands that many numbers of 32 bits, separated by colons.
func numbers(text string, count int) ([]uint64, error) {
	parts := strings.Split(text, ":")
	if len(parts) != count {
		return nil, fmt.Errorf("%q is not %d numbers", text, count)
	}
	out := make([]uint64, count)
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 32)
		if err != nil {
			return nil, err
		}
		out[i] = n
	}
	return out, nil
}

func (e Export) check(d *document, key string, names map[string]bool) {
	switch {
	case !exportName.MatchString(e.Name):
		d.report(key+".name", "%q is not a name; use up to 63 letters, digits, dots, dashes and underscores, the first a letter or digit", e.Name)
	case reservedExports[e.Name] != "":
		d.report(key+".name", "%q is the name of %s; use another", e.Name, reservedExports[e.Name])
	case names[e.Name]:
		d.report(key+".name", "%q is the name of an earlier export", e.Name)
	}
	names[e.Name] = true
	d.absolute(key+".path", e.Path)
	e.checkAllow(d, key)
	e.checkIDs(d, key)
}

func (e Export) checkAllow(d *document, key string) {
	if e.Allow == "" {
		return
	}
	for name := range strings.SplitSeq(e.Allow, ",") {
		if !slices.Contains(exportOperations, strings.TrimSpace(name)) {
			d.report(key+".allow", "%q is not one of %s", strings.TrimSpace(name), strings.Join(exportOperations, ", "))
		}
	}
}

func (e Export) checkIDs(d *document, key string) {
	if e.Squash != "" {
		if _, _, err := ParseUser(e.Squash); err != nil {
			d.report(key+".squash", "%v", err)
		}
	}
	for name, text := range map[string]string{"uid_map": e.UIDMap, "gid_map": e.GIDMap} {
		if _, err := ParseIDMap(text); err != nil {
			d.report(key+"."+name, "%v", err)
		}
	}
	switch {
	case (e.UIDMap == "") != (e.GIDMap == ""):
		d.report(key+".uid_map", "uid_map and gid_map go together")
	case e.UIDMap != "" && !e.OneFileSystem:
		d.report(key+".uid_map", "ids are mapped on one file system only; set one_file_system = true")
	case e.UIDMap != "" && e.Squash != "":
		d.report(key+".squash", "not together with uid_map")
	}
}
