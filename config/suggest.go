// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"strings"
)

// unknown says what may be meant by a key that does not exist: path is all of
// it, table the known table it was looked for in, and other the keys of the
// other machine's file.
func unknown(path string, table, root, other *field) string {
	head := "unknown key " + path
	if other.find(path) != nil {
		return head + " here, it belongs in " + other.name
	}
	if near := nearest(path, root); near != "" {
		return head + ", did you mean " + near + "?"
	}
	if same := sameName(path, root); len(same) > 0 && len(same) <= 3 {
		return head + ", did you mean " + strings.Join(same, " or ") + "?"
	}
	names := make([]string, len(table.fields))
	for i, c := range table.fields {
		names[i] = c.name
	}
	where := "a file"
	if table.path != "" {
		where = "[" + table.path + "]"
	}
	return head + "; " + where + " may have " + strings.Join(names, ", ")
}

// nearest returns the known path that path is most likely a misspelling of.
func nearest(path string, root *field) string {
	best, bestDistance := "", len(path)/4+1
	for _, f := range root.all() {
		if d := distance(strings.ToLower(path), f.path); d < bestDistance {
			best, bestDistance = f.path, d
		}
	}
	return best
}

// sameName returns the known paths that end as path does.
func sameName(path string, root *field) []string {
	_, name := cutLast(strings.ToLower(path))
	var out []string
	for _, f := range root.all() {
		if f.name == name {
			out = append(out, f.path)
		}
	}
	return out
}

// maxName bounds the length of a name that is compared with others, in bytes.
const maxName = 64

// distance returns how many letters must be inserted, removed, replaced or
// swapped with their neighbour to get from a to b.
func distance(a, b string) int {
	if len(a) > maxName || len(b) > maxName {
		return max(len(a), len(b))
	}
	var before []int // the row before last
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = slices.Clone(last), row
	}
	return last[len(b)]
}
