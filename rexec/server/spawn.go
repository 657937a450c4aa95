// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/rexec/wire"
)

// spawnRequest is a process to be made.
type spawnRequest struct {
	path    string
	args    []string
	attr    *syscall.ProcAttr
	umask   int
	rlimits []wire.Rlimit
}

type spawned struct {
	pid int
	err error
}

// spawner makes processes on a thread of its own, which lives as long as this
// process: the kernel ties a parent-death signal to the thread that forked, and
// a thread that doesn't share its umask may set it for its child.
type spawner struct {
	requests chan spawnRequest
	results  chan spawned
	mu       sync.Mutex
}

// theSpawner is made at the first need. Threads belong to the process, so there
// is no sense in having several.
var theSpawner = sync.OnceValues(func() (*spawner, error) {
	s := &spawner{requests: make(chan spawnRequest), results: make(chan spawned)}
	ready := make(chan error)
	go s.loop(ready)
	if err := <-ready; err != nil {
		return nil, err
	}
	return s, nil
})

func (s *spawner) loop(ready chan<- error) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		ready <- fmt.Errorf("have a thread with a umask of its own: %w", err)
		return
	}
	ready <- nil
	for r := range s.requests {
		pid, err := r.start()
		s.results <- spawned{pid, err}
	}
}

// spawn makes a process. Its first descriptors are r.attr.Files; no other is
// inherited that isn't meant to be.
func spawn(r spawnRequest) (int, error) {
	s, err := theSpawner()
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests <- r
	res := <-s.results
	return res.pid, res.err
}

func (r spawnRequest) start() (int, error) {
	unix.Umask(r.umask)
	if len(r.rlimits) == 0 {
		return syscall.ForkExec(r.path, r.args, r.attr)
	}
	return r.startLimited()
}

// startLimited sets limits between exec and the first instruction of the
// program, where tracing stops it.
func (r spawnRequest) startLimited() (int, error) {
	r.attr.Sys.Ptrace = true
	pid, err := syscall.ForkExec(r.path, r.args, r.attr)
	if err != nil {
		return 0, err
	}
	if err := r.limit(pid); err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
		return 0, err
	}
	return pid, nil
}

func (r spawnRequest) limit(pid int) error {
	var ws unix.WaitStatus
	if _, err := wait4(pid, &ws, 0); err != nil {
		return os.NewSyscallError("wait4", err)
	}
	if !ws.Stopped() {
		return fmt.Errorf("program ended before its limits were set, with status %#x", int(ws))
	}
	for _, l := range r.rlimits {
		resource, err := wire.RlimitResource(l.Name)
		if err != nil {
			return err
		}
		if err := unix.Prlimit(pid, resource, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}, nil); err != nil {
			return fmt.Errorf("set limit %s: %w", l.Name, err)
		}
	}
	return os.NewSyscallError("ptrace", unix.PtraceDetach(pid))
}

// wait4 goes on when a signal interrupts it.
func wait4(pid int, ws *unix.WaitStatus, options int) (int, error) {
	for {
		n, err := unix.Wait4(pid, ws, options, nil)
		if err != unix.EINTR {
			return n, err
		}
	}
}
