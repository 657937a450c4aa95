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

// settleTime gathers changes of the mount table that come together.
const settleTime = 20 * time.Millisecond

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
	for ctx.Err() == nil {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return fmt.Errorf("wait for changes of the mount table: %w", err)
		}
		if fds[0].Revents != 0 {
			time.Sleep(settleTime)
			if err := s.dropGoneMounts(); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropGoneMounts makes the nodes stale whose mount is not in the mount table
// any more. Files that are open stay so, as they do for local processes.
func (s *session) dropGoneMounts() error {
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
	for _, nodes := range held {
		for _, n := range nodes {
			if !n.dead {
				s.removeLocked(n)
			}
		}
	}
	return nil
}
