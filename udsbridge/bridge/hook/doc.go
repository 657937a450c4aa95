// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hook leads connect(2) and sendto(2) on unix sockets from one path to
// another, for all programs of a cgroup, static ones included, by BPF programs of
// the types cgroup/connect_unix and its like (Linux 6.7 and later). getpeername(2)
// and recvfrom(2) show the path that the program asked for.
//
// The BPF programs are made here, instruction by instruction, for the rules there
// are: they have no maps and no loops. They look at what the program passes, so a
// relative path, or one with "//" or "..", is not led anywhere.
//
// It imports no other package of this module.
package hook
