// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package configs holds the configuration files that are shipped, as files to
// install and as text for "offloadctl config".
//
//   - offload.toml: containerd's, the only one of containerd a user edits;
//   - daemon.json: dockerd's;
//   - dpu.toml and host.toml: examples of offload's own, every key in them;
//   - systemd: the units of both daemons, and what containerd's and dockerd's
//     units need added.
//
// It imports nothing and does nothing with the files.
package configs
