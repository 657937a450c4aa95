// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// limits has the names of the resource limits, as in getrlimit(2) without
// "RLIMIT_".
var limits = [...]struct {
	name     string
	resource int
}{
	{"as", unix.RLIMIT_AS}, {"core", unix.RLIMIT_CORE}, {"cpu", unix.RLIMIT_CPU}, {"data", unix.RLIMIT_DATA},
	{"fsize", unix.RLIMIT_FSIZE}, {"locks", unix.RLIMIT_LOCKS}, {"memlock", unix.RLIMIT_MEMLOCK},
	{"msgqueue", unix.RLIMIT_MSGQUEUE}, {"nice", unix.RLIMIT_NICE}, {"nofile", unix.RLIMIT_NOFILE},
	{"nproc", unix.RLIMIT_NPROC}, {"rss", unix.RLIMIT_RSS}, {"rtprio", unix.RLIMIT_RTPRIO},
	{"rttime", unix.RLIMIT_RTTIME}, {"sigpending", unix.RLIMIT_SIGPENDING}, {"stack", unix.RLIMIT_STACK},
}

// RlimitNames returns the name of every limit.
func RlimitNames() []string {
	names := make([]string, len(limits))
	for i, l := range limits {
		names[i] = l.name
	}
	return names
}

// RlimitResource returns the number that a limit's name has on this machine.
func RlimitResource(name string) (int, error) {
	for _, l := range limits {
		if l.name == strings.ToLower(name) {
			return l.resource, nil
		}
	}
	return 0, fmt.Errorf("there is no limit %q", name)
}
