// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const allNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS |
	unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP

// onThread runs fn on an OS thread of its own that ends with it, so that fn may change what belongs to a thread: its
// namespaces, its root, its cgroups. fn must not start goroutines that rely on these.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the runtime then ends the thread with the goroutine.
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// /proc/self shows the main thread, so that one must stay as it is; held here, it can't be drawn twice.
			done <- onThread(fn)
			runtime.UnlockOSThread()
			return
		}
		done <- fn()
	}()
	return <-done
}

// enterNamespaces moves the calling thread into the namespaces of the process that pidfd refers to. Its root and its
// working directory become that process's.
func enterNamespaces(pidfd int) error {
	// Threads share their root and working directory, and the kernel refuses to give one another mount namespace so.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare file system attributes: %w", err)
	}
	if err := unix.Setns(pidfd, allNamespaces); err != nil {
		return fmt.Errorf("enter namespaces: %w", err)
	}
	return nil
}
