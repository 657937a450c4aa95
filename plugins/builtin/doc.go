// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package builtin links the snapshotter and the differ into a containerd, for a
// site that builds its own. Importing it for its side effect registers three
// plugins:
//
//	io.containerd.offload.link.v1.offload   the link, and all configuration
//	io.containerd.snapshotter.v1.offload    the snapshotter
//	io.containerd.differ.v1.offload         the differ
//
// Their configuration is one table of containerd's configuration file:
//
//	[plugins.'io.containerd.offload.link.v1.offload']
//	  config = '/etc/offload/dpu.toml'
//	  root = '/run/offload/host'
//
// The differ has to be named in the order of
// [plugins.'io.containerd.service.v1.diff-service'] as any other. The daemon
// offload-dpu still has to run: it mounts the HOST's tree.
//
// It may import containerd, config, udsbridge and the packages beside it. It keeps no
// state of its own.
package builtin
