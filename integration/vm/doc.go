// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package vm makes a HOST and a DPU that are machines of their own: two QEMU virtual machines with different Debian
// releases and different stock kernels, and installs the offload system in them as one would on real ones.
//
//	image      Build makes what machines start from, from Debian packages, and keeps it: no root disk is ever changed.
//	emulator   QEMU and vhost-device-vsock, unpacked from packages into a directory and run from there, not installed.
//	machine    one virtual machine: started, asked to run commands, reset, powered off.
//	pair       both machines and what joins them: an Ethernet link, AF_VSOCK, and the way in.
//	relay      the part of the vsock joint that is ours, which also can cut it.
//	payload    the disk by which programs get into a machine.
//	keep       a pair that outlives the command that started it.
//
// The way into a machine is its ssh daemon, on a network interface of its own that leads to a unix socket of this
// machine and nowhere else: cutting the link between the machines does not cut it.
//
// A pair leaves nothing behind. Its processes are killed by the kernel when the process that opened it ends, however
// that ends. What the machines write goes to files without names. The directory of sockets and logs is removed by
// Close, or else by whoever opens the next pair. Nothing is mounted on this machine.
//
// Building images needs root, for mmdebstrap; running them does not. May import anything in the repository. Never
// imported by what is shipped.
package vm
