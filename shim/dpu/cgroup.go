// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// namesSystemdUnit tells whether the spec's cgroup is a unit of systemd, written
// as runc has it: SLICE:PREFIX:NAME. A daemon that has systemd make cgroups
// writes them so, and says to runc that it does, but dockerd says it to no
// runtime other than its own.
func namesSystemdUnit(spec *specs.Spec) bool {
	if spec.Linux == nil {
		return false
	}
	path := spec.Linux.CgroupsPath
	return !strings.HasPrefix(path, "/") && strings.Count(path, ":") == 2
}
