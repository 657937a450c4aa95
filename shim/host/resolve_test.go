// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestDropTime holds which time namespaces a container can do without.
func TestDropTime(t *testing.T) {
	pid := specs.LinuxNamespace{Type: specs.PIDNamespace}
	fresh := specs.LinuxNamespace{Type: specs.TimeNamespace}
	shared := specs.LinuxNamespace{Type: specs.TimeNamespace, Path: "/proc/1/ns/time"}
	shifted := map[string]specs.LinuxTimeOffset{"boottime": {Secs: 3600}}
	for _, c := range []struct {
		name   string
		before []specs.LinuxNamespace
		offset map[string]specs.LinuxTimeOffset
		after  []specs.LinuxNamespace
	}{
		{"none", []specs.LinuxNamespace{pid}, nil, []specs.LinuxNamespace{pid}},
		{"a new one", []specs.LinuxNamespace{fresh, pid}, nil, []specs.LinuxNamespace{pid}},
		{"another container's", []specs.LinuxNamespace{pid, shared}, nil, []specs.LinuxNamespace{pid, shared}},
		{"with another clock", []specs.LinuxNamespace{pid, fresh}, shifted, []specs.LinuxNamespace{pid, fresh}},
	} {
		l := &specs.Linux{Namespaces: slices.Clone(c.before), TimeOffsets: c.offset}
		if dropTime(l); !slices.Equal(l.Namespaces, c.after) {
			t.Errorf("%s: %v, want %v", c.name, l.Namespaces, c.after)
		}
	}
}
