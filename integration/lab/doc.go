// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package lab makes a HOST and a DPU out of one Linux machine.
//
// Each is an [Env]: a set of fresh mount, pid, network, uts, ipc and cgroup namespaces, an own root tree on disk, an own
// group in every cgroup hierarchy of the machine, and a pid 1 that reaps. The two share nothing but a veth pair, so
// whatever reaches from one to the other went over the link. What an environment must not have, it lacks: there is no
// containerd, dockerd or docker on the HOST, and no runc and no runc shim on the DPU.
//
// Commands are started with [Env.Command], which is an os/exec command whose process is born inside the environment,
// and daemons with [Env.Start], which waits until they are ready. [Open] puts a whole lab up: environments, registry
// and daemons, either the offload system ([Offload]) or the same stock daemons with nothing moved ([Stock]), as the
// control and the peer to measure against.
//
// A lab leaves nothing behind. Processes and mounts live in namespaces that end with their pid 1, which ends when the
// process that opened the lab does, however that ends. Directories and cgroups are removed by Close, or else by a
// janitor process that outlives its lab only for that. [Leftovers] tells what is there that was not before.
//
// A program that uses this package must call [RunChild] first thing in main (a test: in TestMain), because the pid 1 of
// an environment and the janitor are that same program started again.
//
// May import anything in the repository. Never imported by what is shipped.
package lab
