// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rexec is the room for running a program of one machine from the
// other as if it were local. It may import udsbridge, and it never imports
// shim, plugins or remotefs. It holds no code yet.
package rexec
