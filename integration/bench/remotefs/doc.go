// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Command remotefs (make bench-remotefs) measures remotefs against sshfs, against go-fuse's loopback, which crosses
// the kernel in the same way but no network, against the file system itself, and against what a TCP stream carries.
//
// Everything is on this machine: each server and each mount is a process of its own, remotefs and sshfs are joined by
// TCP over the loopback interface, and sshfs speaks to sftp-server without ssh. The rounds of the peers alternate; each
// begins with a new mount.
package main
