// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func own(t *testing.T) uint64 {
	t.Helper()
	f, err := os.Open("/proc/self/ns/net")
	require.NoError(t, err)
	defer f.Close()
	ino, err := Inode(f)
	require.NoError(t, err)
	return ino
}

func TestDo(t *testing.T) {
	ns, err := New()
	require.NoError(t, err)
	defer ns.Close()
	home := own(t)
	want, err := Inode(ns)
	require.NoError(t, err)
	require.NotEqual(t, home, want)
	failure := errors.New("failure")
	require.ErrorIs(t, Do(ns, func() error {
		f, err := os.Open("/proc/thread-self/ns/net")
		require.NoError(t, err)
		defer f.Close()
		got, err := Inode(f)
		require.NoError(t, err)
		require.Equal(t, want, got)
		links, err := net.Interfaces()
		require.NoError(t, err)
		require.Len(t, links, 1)
		return failure
	}), failure)
	require.Equal(t, home, own(t))
}

// Whoever looks at /proc/self meanwhile sees where this process is.
func TestTheProcessStaysWhereItIs(t *testing.T) {
	ns, err := New()
	require.NoError(t, err)
	defer ns.Close()
	home := own(t)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 50 {
				if err := Do(ns, func() error { return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2000 {
		require.Equal(t, home, own(t))
	}
	wg.Wait()
}
