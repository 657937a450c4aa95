// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package calls

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Where struct seccomp_data has what the filter looks at; see seccomp(2).
const (
	dataNr   = 0
	dataArch = 4
)

// audit is how the kernel calls this machine's calling convention.
var audit = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// filter returns the program that passes the two calls on and lets all others be.
func filter(arch uint32) []unix.SockFilter {
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	equal := func(value uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jt: yes, Jf: no}
	}
	result := func(value uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value} }
	return []unix.SockFilter{
		load(dataArch),
		equal(arch, 0, 3), // of a foreign convention: numbers mean something else
		load(dataNr),
		equal(unix.SYS_UNAME, 2, 0),
		equal(unix.SYS_SCHED_GETAFFINITY, 1, 0),
		result(unix.SECCOMP_RET_ALLOW),
		result(unix.SECCOMP_RET_USER_NOTIF),
	}
}

// Install gives the calling thread the filter and returns its listener, which is
// closed on exec. The caller keeps the goroutine on its thread. It needs Linux 5.5
// or later and CAP_SYS_ADMIN.
func Install() (*os.File, error) {
	arch, ok := audit[runtime.GOARCH]
	if !ok {
		return nil, fmt.Errorf("filter system calls: not on %s", runtime.GOARCH)
	}
	program := filter(arch)
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	// A daemon's threads get signals all the time. With the second flag, of Linux
	// 5.19, one that has been asked for waits for its answer, and is asked for once.
	for _, flags := range []uintptr{
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER,
	} {
		fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
		switch {
		case errno == 0:
			return os.NewFile(fd, "seccomp"), nil
		case !errors.Is(errno, unix.EINVAL):
			return nil, fmt.Errorf("filter system calls: %w", errno)
		}
	}
	return nil, errors.New("filter system calls: the kernel has no listeners (Linux 5.5 has)")
}
