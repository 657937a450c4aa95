// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package shadow

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Namespaces says, per namespace, what a shadow gets: a new one, or the one at
// a path. A namespace that is in neither is shared with the maker.
type Namespaces struct {
	// New is a mask of CLONE_NEW flags (see clone(2)).
	New uintptr
	// Join lists paths of namespaces to enter (see setns(2)).
	Join []string
}

// Shadow is a running shadow process. Its methods may be called concurrently.
type Shadow struct {
	cmd    *exec.Cmd
	alive  *os.File
	once   sync.Once
	killed syscall.Signal
}

// Start makes a shadow whose command line is name. It lives until [Shadow.Stop]
// or until this process is gone.
func Start(name string, ns Namespaces) (_ *Shadow, err error) {
	image, err := imageFile()
	if err != nil {
		return nil, fmt.Errorf("write shadow program: %w", err)
	}
	defer image.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make shadow pipe: %w", err)
	}
	defer r.Close()
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	cmd := &exec.Cmd{
		Path:        fmt.Sprintf("/proc/self/fd/%d", image.Fd()),
		Args:        []string{name},
		Env:         []string{},
		Dir:         "/",
		Stdin:       r,
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: ns.New, Setsid: true},
	}
	if err := startIn(cmd, ns.Join); err != nil {
		return nil, fmt.Errorf("start shadow: %w", err)
	}
	return &Shadow{cmd: cmd, alive: w}, nil
}

// Pid returns the shadow's process id.
func (s *Shadow) Pid() int { return s.cmd.Process.Pid }

// Stop ends the shadow and reaps it. It may be called more than once.
func (s *Shadow) Stop() {
	s.once.Do(func() {
		s.alive.Close()
		_ = s.cmd.Process.Kill()
		// The exit status says nothing: the shadow was told to end.
		_ = s.cmd.Wait()
	})
}

// AwaitKill returns once the shadow has ended: with the signal that somebody has
// killed it by, or 0 if that was [Shadow.Stop]. It costs no thread.
func (s *Shadow) AwaitKill() syscall.Signal {
	if raw, err := s.alive.SyscallConn(); err == nil {
		// The pipe that keeps the shadow alive breaks when it ends. Stop, which
		// closes this end, makes this fail.
		_ = raw.Write(func(fd uintptr) bool {
			look := []unix.PollFd{{Fd: int32(fd)}} // only for POLLERR
			_, err := unix.Poll(look, 0)
			return err == nil && look[0].Revents&unix.POLLERR != 0
		})
	}
	s.once.Do(func() {
		s.alive.Close()
		_ = s.cmd.Wait()
		if status, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			s.killed = status.Signal()
		}
	})
	return s.killed
}

// startIn starts cmd from a thread that has entered the namespaces at paths.
// The thread is given up afterwards rather than led back.
func startIn(cmd *exec.Cmd, paths []string) error {
	if len(paths) == 0 {
		return cmd.Start()
	}
	done := make(chan error, 1)
	go onThrowawayThread(func() {
		done <- func() error {
			for _, p := range paths {
				if err := enter(p); err != nil {
					return err
				}
			}
			return cmd.Start()
		}()
	})
	return <-done
}

// onThrowawayThread runs f on a thread that ends with f. The main thread never
// ends, and /proc/self speaks of it, so f is kept away from it.
func onThrowawayThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() != os.Getpid() {
		f()
		return // still locked: the thread ends with the goroutine
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
	runtime.UnlockOSThread()
}

func enter(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open namespace: %w", err)
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), 0); err != nil {
		return fmt.Errorf("enter namespace %s: %w", path, err)
	}
	return nil
}

// imageFile returns the program in an anonymous file. Nothing is on disk, so a
// state directory mounted noexec does no harm.
func imageFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("offload-shadow", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // kernels before 6.3 know no MFD_EXEC
		fd, err = unix.MemfdCreate("offload-shadow", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("create anonymous file: %w", err)
	}
	f := os.NewFile(uintptr(fd), "offload-shadow")
	if _, err := f.Write(program()); err != nil {
		f.Close()
		return nil, err
	}
	// A file open for writing can't be executed (ETXTBSY).
	ro, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	f.Close()
	return ro, err
}
