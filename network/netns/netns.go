// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Do calls f on a thread that is in the namespace ns. What f opens (sockets,
// devices) belongs to ns; goroutines it starts do not. The thread goes back to
// where it was, or is given up. It is never the main thread, for whose
// namespaces /proc/self/ns stands.
func Do(ns *os.File, f func() error) error {
	done := make(chan error, 1)
	go onOwnThread(func() { done <- inside(ns, f) })
	return <-done
}

// onOwnThread calls f on a locked thread that isn't the main one. f unlocks it
// if it can be used again.
func onOwnThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() != os.Getpid() {
		f()
		return
	}
	done := make(chan struct{})
	go func() { // on another thread, since this one is taken
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
	runtime.UnlockOSThread()
}

// inside calls f in the namespace, and unlocks the thread once it is back.
func inside(ns *os.File, f func() error) error {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open own network namespace: %w", err)
	}
	defer home.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	err = f()
	if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return err // a thread that stays locked ends with its goroutine
}

// New makes a network namespace that lives as long as the returned file, or
// something that has joined it.
func New() (*os.File, error) {
	var f *os.File
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	defer home.Close()
	err = Do(home, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		f, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	return f, nil
}

// Inode returns the number by which two files of one namespace are known to be
// the same.
func Inode(ns *os.File) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(ns.Fd()), &st); err != nil {
		return 0, fmt.Errorf("identify network namespace: %w", err)
	}
	return st.Ino, nil
}
