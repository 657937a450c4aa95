// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package view makes the surroundings in which a stock daemon of the DPU, dockerd
// above all, sees the HOST where it must.
//
// The daemon runs in a mount namespace of its own, in which single files of the
// HOST lie over its own: /proc/stat, /proc/meminfo and so on, never all of /proc,
// since a daemon needs its own /proc/self. Only /proc and /sys/fs/cgroup are cut
// off from the machine's other namespaces, and /etc/os-release; every other mount that the daemon makes
// is seen by containerd and its shims as before. PATH begins with a directory of
// links to stand-ins for programs that must run on the HOST.
//
// What no file says, the kernel's version and the number of processors, the daemon
// asks by system calls, which are answered with the HOST's; see package calls.
//
// Two processes do this: [Run] prepares the namespace and becomes the daemon, and
// [Keep], a helper in the same namespace with a link of its own, keeps the HOST's
// files mounted and answers the daemon's calls until it ends. When both have ended, so has the namespace,
// and nothing is left.
//
// It may import config, machine, remotefs/client and udsbridge.
package view
