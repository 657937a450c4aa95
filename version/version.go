// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package version

import (
	"runtime/debug"
	"time"
)

// String returns the version of the running program, such as "v0.1.0" or, for a
// build between two releases, the form that the go command gives a commit. It is
// "unknown" for a build without a version control system.
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "unknown"
	}
	return info.Main.Version
}

// Time returns when the commit was made that the running program was built from,
// and whether that is known.
func Time() (time.Time, bool) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}, false
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			t, err := time.Parse(time.RFC3339, s.Value)
			return t, err == nil
		}
	}
	return time.Time{}, false
}
