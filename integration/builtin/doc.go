// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package builtin tests that a site can build a containerd of its own with the
// snapshotter and the differ linked in, and that such a containerd runs
// containers on the HOST with no proxy plugin.
//
// It has tests only. They need a lab, and build containerd in a module of their
// own, as such a site does.
package builtin
