// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package configs

import _ "embed" // for the files

// The files as they are installed.
var (
	// Containerd is the configuration of containerd, offload.toml.
	//go:embed offload.toml
	Containerd string
	// Dockerd is the configuration of dockerd, daemon.json.
	//go:embed daemon.json
	Dockerd string
	// DPU is an example of dpu.toml.
	//go:embed dpu.toml
	DPU string
	// Host is an example of host.toml.
	//go:embed host.toml
	Host string
)
