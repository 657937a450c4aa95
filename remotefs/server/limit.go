// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// raiseFileLimit lets this process have as many descriptors as the kernel
// allows: each file that a client's kernel knows costs one. Programs that this
// process starts keep the limits it was started with, which Go restores for
// them as long as it does not see the limits change; hence the bare system call.
func raiseFileLimit() {
	data, err := os.ReadFile("/proc/sys/fs/nr_open")
	if err != nil {
		return
	}
	most, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return
	}
	limit := unix.Rlimit{Cur: most, Max: most}
	_, _, _ = unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
}
