// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package remotefs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/client"
	"github.com/container-offload/offload/remotefs/server"
)

// stalling is a connection that carries nothing while it is stalled, and loses
// nothing.
type stalling struct {
	net.Conn
	mu     sync.Mutex
	moving chan struct{} // closed unless it is stalled
}

func newStalling(c net.Conn) *stalling {
	s := &stalling{Conn: c, moving: make(chan struct{})}
	close(s.moving)
	return s
}

func (s *stalling) stall() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moving = make(chan struct{})
}

func (s *stalling) move() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.moving)
}

func (s *stalling) wait() {
	s.mu.Lock()
	moving := s.moving
	s.mu.Unlock()
	<-moving
}

func (s *stalling) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.wait()
	return n, err
}

func (s *stalling) Write(b []byte) (int, error) {
	s.wait()
	return s.Conn.Write(b)
}

// stallingPair mounts with the options over a connection that can be stalled.
func stallingPair(t *testing.T, opts client.Options) (far, near string, link *stalling) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	near = t.TempDir()
	s := server.New(server.Options{})
	require.NoError(t, s.Add(server.Export{Name: "x", Path: near}))
	open := serve(t, s)
	opts.Export = "x"
	_, far = mount(t, func(ctx context.Context) (net.Conn, error) {
		c, err := open(ctx)
		link = newStalling(c)
		return link, err
	}, opts)
	return far, near, link
}

// While the server does not answer, everything fails after a time, and goes on as
// soon as it does again.
func TestSoft(t *testing.T) {
	const soft = 2 * time.Second
	far, near, link := stallingPair(t, client.Options{Soft: soft, Cache: client.CacheNone, AttrTimeout: -1, EntryTimeout: -1})
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	require.NoError(t, os.WriteFile(near+"/file", content, 0o644))
	f, err := os.OpenFile(far+"/file", os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()

	link.stall()
	began := time.Now()
	operations := []func() error{
		func() error { _, err := os.Stat(far + "/file"); return err },
		func() error { _, err := os.ReadDir(far); return err },
		func() error { return os.Mkdir(far+"/dir", 0o755) },
		func() error { _, err := f.ReadAt(make([]byte, 1<<20), 0); return err },
		func() error { _, err := f.WriteAt(content, 0); return err },
		func() error { _, err := f.WriteAt([]byte("x"), 5<<20); return err },
	}
	errs := make([]error, len(operations))
	var all sync.WaitGroup
	for i, operation := range operations {
		all.Go(func() { errs[i] = operation() })
	}
	all.Wait()
	took := time.Since(began)
	link.move()
	for i, err := range errs {
		assert.ErrorIs(t, err, unix.EIO, "operation %d", i)
	}
	assert.GreaterOrEqual(t, took, soft)

	require.Eventually(t, func() bool {
		got, err := os.ReadFile(far + "/file")
		return err == nil && bytes.HasPrefix(got, content)
	}, 20*time.Second, 10*time.Millisecond, "the mount does not come back")
	require.NoError(t, os.WriteFile(far+"/after", content, 0o644))
	assert.Equal(t, string(content), read(t, near+"/after"))
}

// However much is asked meanwhile, no more is sent than may stay unanswered.
func TestSoftGivesUpWithinLimits(t *testing.T) {
	const soft = 500 * time.Millisecond
	far, near, link := stallingPair(t, client.Options{Soft: soft, AttrTimeout: -1, EntryTimeout: -1})
	write(t, near+"/file", "x")
	link.stall()
	var all sync.WaitGroup
	errs := make([]error, 200)
	for i := range errs {
		all.Go(func() { errs[i] = unix.Access(fmt.Sprint(far, "/", i), unix.F_OK) })
	}
	all.Wait()
	began := time.Now()
	for range 50 {
		_ = unix.Access(far+"/more", unix.F_OK)
	}
	took := time.Since(began)
	link.move()
	for _, err := range errs {
		assert.ErrorIs(t, err, unix.EIO)
	}
	assert.Less(t, took, 50*soft/2, "these fail at once")
	require.Eventually(t, func() bool {
		got, err := os.ReadFile(far + "/file")
		return err == nil && string(got) == "x"
	}, 20*time.Second, 10*time.Millisecond, "the mount does not come back")
}

// Without a time an operation waits, and what it waited for is done.
func TestHard(t *testing.T) {
	far, near, link := stallingPair(t, client.Options{})
	link.stall()
	made := make(chan error, 1)
	go func() { made <- os.Mkdir(far+"/dir", 0o755) }()
	select {
	case err := <-made:
		link.move()
		require.NoError(t, errors.Join(errors.New("it did not wait"), err))
	case <-time.After(time.Second):
	}
	link.move()
	require.NoError(t, <-made)
	assert.DirExists(t, near+"/dir")
}

// Waiting for a lock is no failure of the server's.
func TestSoftWaitsForLocks(t *testing.T) {
	far, near, _ := stallingPair(t, client.Options{Soft: 2 * time.Second})
	write(t, near+"/file", "")
	held, err := os.Open(near + "/file")
	require.NoError(t, err)
	defer held.Close()
	require.NoError(t, unix.Flock(int(held.Fd()), unix.LOCK_EX))
	f, err := os.Open(far + "/file")
	require.NoError(t, err)
	defer f.Close()
	locked := make(chan error, 1)
	go func() { locked <- unix.Flock(int(f.Fd()), unix.LOCK_EX) }()
	select {
	case err := <-locked:
		t.Fatalf("the lock was not waited for: %v", err)
	case <-time.After(3 * time.Second):
	}
	require.NoError(t, unix.Flock(int(held.Fd()), unix.LOCK_UN))
	require.NoError(t, <-locked)
}
