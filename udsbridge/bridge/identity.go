// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/wire"
)

// keepID leaves a user or group as it is.
const keepID = ^uintptr(0)

// as calls f as another user, so that the kernel checks permissions for that one
// and shows it as SO_PEERCRED. Without the right to change users f is called as who
// this process is. f must not start goroutines.
//
// Linux keeps users by thread, so this goroutine's thread changes its effective
// user and back; the real one stays. A thread that can't be changed back ends with
// its goroutine, which therefore is one of its own.
func as(who wire.Credentials, f func() error) error {
	if os.Geteuid() != 0 {
		return f()
	}
	if who.UID == 0 && who.GID == 0 && len(who.Groups) == 0 {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back, err := become(who)
		if err == nil {
			err = f()
		}
		if backErr := back(); backErr != nil {
			// Without UnlockOSThread the thread ends here.
			done <- fmt.Errorf("become root again: %w", backErr)
			return
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

// become changes the effective user of this thread. back undoes what was done.
func become(who wire.Credentials) (back func() error, err error) {
	groups, err := unix.Getgroups()
	if err != nil {
		return func() error { return nil }, fmt.Errorf("get groups: %w", err)
	}
	old := make([]uint32, len(groups))
	for i, g := range groups {
		old[i] = uint32(g)
	}
	back = func() error {
		if err := setEffective(unix.SYS_SETRESUID, 0); err != nil {
			return err
		}
		if err := setEffective(unix.SYS_SETRESGID, uint32(os.Getgid())); err != nil {
			return err
		}
		return setGroups(old)
	}
	if err := setGroups(who.Groups); err != nil {
		return back, fmt.Errorf("take groups %v: %w", who.Groups, err)
	}
	if err := setEffective(unix.SYS_SETRESGID, who.GID); err != nil {
		return back, fmt.Errorf("take group %d: %w", who.GID, err)
	}
	if err := setEffective(unix.SYS_SETRESUID, who.UID); err != nil {
		return back, fmt.Errorf("take user %d: %w", who.UID, err)
	}
	return back, nil
}

// setEffective is the bare system call, which is for this thread alone; the
// functions of package syscall change all threads.
func setEffective(call uintptr, id uint32) error {
	if _, _, errno := unix.RawSyscall(call, keepID, uintptr(id), keepID); errno != 0 {
		return errno
	}
	return nil
}

func setGroups(groups []uint32) error {
	var first unsafe.Pointer
	if len(groups) > 0 {
		first = unsafe.Pointer(&groups[0])
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(first), 0); errno != 0 {
		return errno
	}
	return nil
}

// peerOf returns who is at the other end of a socket that was accepted.
func peerOf(fd int) (wire.Credentials, error) {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return wire.Credentials{}, fmt.Errorf("get credentials of the program that connects: %w", err)
	}
	return wire.Credentials{PID: uint32(c.Pid), UID: c.Uid, GID: c.Gid, Groups: groupsOf(fd)}, nil
}

// soPeerGroups is SO_PEERGROUPS of Linux 4.13, which x/sys has by that name for
// some architectures only.
const soPeerGroups = 59

// groupsOf returns the supplementary groups of who is at the other end.
func groupsOf(fd int) []uint32 {
	var groups [1024]uint32
	size := uint32(unsafe.Sizeof(groups))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, soPeerGroups,
		uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 || size == 0 {
		return nil
	}
	return append([]uint32(nil), groups[:size/4]...)
}
