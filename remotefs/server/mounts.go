// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const mountTable = "/proc/self/mountinfo"

const (
	// settleTime gathers changes of the mount table that come together.
	settleTime = 20 * time.Millisecond
	// readOnlyGrace is how long the files of a read-only mount outlive it. Whoever
	// works on them is not interrupted, as no local process is by umount -l, and
	// holding them keeps no space of a disk that was to be freed.
	readOnlyGrace = time.Minute
)

// watchMounts lets go of the files of mounts that are gone, until ctx ends. A
// node's descriptor would keep such a mount's file system busy for as long as the
// client's kernel remembers the name, which may be for ever.
func (s *session) watchMounts(ctx context.Context) error {
	f, err := os.Open(mountTable)
	if err != nil {
		return err
	}
	defer f.Close()
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("make an event descriptor: %w", err)
	}
	defer unix.Close(wake)
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		close(ended)
	})
	defer func() {
		if !stop() {
			<-ended // it has written to wake
		}
	}()
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}, {Fd: int32(wake), Events: unix.POLLIN}}
	gone := map[uint64]time.Time{}
	for ctx.Err() == nil {
		n, err := unix.Poll(fds, pollTimeout(gone))
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("wait for changes of the mount table: %w", err)
		}
		if n == 0 || fds[0].Revents != 0 {
			time.Sleep(settleTime)
			if err := s.dropGoneMounts(gone); err != nil {
				return err
			}
		}
	}
	return nil
}

// pollTimeout is how long nothing need be done, in milliseconds, or -1 for ever.
func pollTimeout(gone map[uint64]time.Time) int {
	if len(gone) == 0 {
		return -1
	}
	return int(readOnlyGrace / 2 / time.Millisecond)
}

// dropGoneMounts makes the nodes stale whose mount is not in the mount table
// any more. Files that are open stay so, as they do for local processes. gone has
// the read-only mounts that have their grace, and since when.
func (s *session) dropGoneMounts(gone map[uint64]time.Time) error {
	// First the nodes, then the table: no mount of theirs is too new for it.
	held := map[uint64][]*node{}
	s.mu.Lock()
	for _, n := range s.nodes {
		if n.exp != nil && !n.dead && n.exp.CrossMounts && n.key.mount != n.exp.key.mount {
			held[n.key.mount] = append(held[n.key.mount], n)
		}
	}
	s.mu.Unlock()
	if len(held) == 0 {
		clear(gone)
		return nil
	}
	table, err := os.ReadFile(mountTable)
	if err != nil {
		return err
	}
	for line := range bytes.Lines(table) {
		id, _, _ := strings.Cut(string(line), " ")
		if n, err := strconv.ParseUint(id, 10, 64); err == nil {
			delete(held, n)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range gone {
		if held[id] == nil {
			delete(gone, id)
		}
	}
	for id, nodes := range held {
		if nodes[0].fd >= 0 && readOnly(nodes[0].fd) && !outlived(gone, id) {
			continue
		}
		for _, n := range nodes {
			if !n.dead {
				s.removeLocked(n)
			}
		}
	}
	return nil
}

// outlived tells whether a mount's grace is over, which begins with the first
// call for it.
func outlived(gone map[uint64]time.Time, id uint64) bool {
	since, ok := gone[id]
	if !ok {
		gone[id] = time.Now()
		return false
	}
	return time.Since(since) >= readOnlyGrace
}

// readOnly tells whether the file's mount is read-only.
func readOnly(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && st.Flags&unix.ST_RDONLY != 0
}
