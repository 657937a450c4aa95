// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package calls

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/machine"
)

// notification is struct seccomp_notif of seccomp_unotify(2).
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

// idValid is SECCOMP_IOCTL_NOTIF_ID_VALID.
const idValid = 0x40082102

// Serve answers what comes from a listener, until no process has its filter any
// more. The threads of the process daemon get what kernel returns, which must be
// quick and may be nil; all others, and what can't be answered, the kernel's own
// answer. It takes a thread.
func Serve(listener *os.File, daemon int, kernel func() *machine.Kernel) error {
	fd := int(listener.Fd())
	for {
		look := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(look, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("await system calls: %w", err)
		}
		switch {
		case look[0].Revents&unix.POLLIN != 0:
			if err := serveOne(fd, daemon, kernel); err != nil {
				return err
			}
		case look[0].Revents != 0: // the last has ended
			return nil
		}
	}
}

func serveOne(fd, daemon int, kernel func() *machine.Kernel) error {
	var n notification
	switch err := ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINTR):
		return nil // it was killed before it was asked for
	case err != nil:
		return fmt.Errorf("receive a system call: %w", err)
	}
	r := response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	if k := kernel(); k != nil && isThreadOf(daemon, int(n.pid)) {
		if val, ok := answer(fd, &n, k); ok {
			r.val, r.flags = val, 0
		}
	}
	err := ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
	if err != nil && !errors.Is(err, unix.ENOENT) { // killed meanwhile
		return fmt.Errorf("answer a system call: %w", err)
	}
	return nil
}

// isThreadOf tells whether a thread is one of a process. A process that a daemon
// has begun to make is one of its own.
func isThreadOf(process, thread int) bool {
	var st unix.Stat_t
	return unix.Stat(fmt.Sprintf("/proc/%d/task/%d", process, thread), &st) == nil
}

// answer writes the answer into the caller's memory, and returns what the call is
// to return.
func answer(fd int, n *notification, k *machine.Kernel) (int64, bool) {
	var (
		out []byte
		to  uint64
		val int64
	)
	switch n.nr {
	case unix.SYS_UNAME:
		out, to = uname(k), n.args[0]
	case unix.SYS_SCHED_GETAFFINITY:
		out, to = affinity(k.CPUs), n.args[2]
		// The kernel's rules for the length: whole words, room for all.
		if n.args[0] != 0 || n.args[1]%8 != 0 || n.args[1] < uint64(len(out)) {
			return 0, false
		}
		val = int64(len(out))
	}
	if out == nil || ioctl(fd, idValid, unsafe.Pointer(&n.id)) != nil {
		return 0, false
	}
	remote := []unix.RemoteIovec{{Base: uintptr(to), Len: len(out)}}
	local := []unix.Iovec{{Base: &out[0], Len: uint64(len(out))}}
	written, err := unix.ProcessVMWritev(int(n.pid), local, remote, 0)
	return val, err == nil && written == len(out)
}

// uname is struct utsname with the name of this machine and the kernel of another.
func uname(k *machine.Kernel) []byte {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return nil
	}
	for field, text := range map[*[65]byte]string{&u.Release: k.Release, &u.Version: k.Version, &u.Machine: k.Machine} {
		*field = [65]byte{}
		copy(field[:len(field)-1], text)
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&u)), unsafe.Sizeof(u))
}

// affinity is a mask of the first n processors, in whole words.
func affinity(n int) []byte {
	mask := make([]byte, (n+63)/64*8)
	for i := range n {
		mask[i/8] |= 1 << (i % 8) // as in memory on a little-endian machine, which both are
	}
	return mask
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
