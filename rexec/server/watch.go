// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// watcher tells of changes in the state of children. It waits only for those it
// was given, and leaves others to whom they belong.
type watcher struct {
	signals chan os.Signal
	stop    chan struct{}

	mu       sync.Mutex
	children map[int]func(unix.WaitStatus)
}

func newWatcher() *watcher {
	w := &watcher{
		signals: make(chan os.Signal, 1), stop: make(chan struct{}),
		children: make(map[int]func(unix.WaitStatus)),
	}
	signal.Notify(w.signals, unix.SIGCHLD)
	go w.loop()
	return w
}

// close ends the watch. Nothing is told any more.
func (w *watcher) close() {
	signal.Stop(w.signals)
	close(w.stop)
}

func (w *watcher) loop() {
	for {
		select {
		case <-w.signals:
			w.mu.Lock()
			for pid := range w.children {
				w.checkLocked(pid)
			}
			w.mu.Unlock()
		case <-w.stop:
			return
		}
	}
}

// add watches a child. tell is called in order, with the watcher locked; after
// it was told of its end, the child's number may be another process's.
func (w *watcher) add(pid int, tell func(unix.WaitStatus)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.children[pid] = tell
	w.checkLocked(pid)
}

// signal sends a signal to a child, or to the group it leads, unless it has
// ended.
func (w *watcher) signal(pid int, sig unix.Signal, group bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.children[pid] == nil {
		return unix.ESRCH
	}
	if group {
		return unix.Kill(-pid, sig)
	}
	return unix.Kill(pid, sig)
}

func (w *watcher) checkLocked(pid int) {
	for {
		var ws unix.WaitStatus
		n, err := wait4(pid, &ws, unix.WNOHANG|unix.WUNTRACED|unix.WCONTINUED)
		if err != nil || n != pid {
			return
		}
		tell := w.children[pid]
		if ws.Exited() || ws.Signaled() {
			delete(w.children, pid)
			tell(ws)
			return
		}
		tell(ws)
	}
}
