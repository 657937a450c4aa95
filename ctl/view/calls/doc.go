// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package calls answers two system calls of a daemon with what another machine
// would say: uname(2), by which it learns the kernel's version, and
// sched_getaffinity(2), by which it counts processors. No file can stand in for
// these.
//
// [Install] gives the calling thread a seccomp filter that passes the two to a
// listener (see seccomp_unotify(2)), and [Serve], in another process, answers them.
// Only the daemon itself gets another machine's answers. A filter is inherited, and
// what the daemon starts (docker-proxy, iptables, modprobe) is about this machine:
// its calls go on to the kernel.
//
// It may import machine.
package calls
