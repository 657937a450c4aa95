// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package remotefs_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/client"
	"github.com/container-offload/offload/remotefs/server"
)

// TestSignalEndsNoLookup sends signals, as the runtime of every Go program does, to a
// thread whose look-up takes the server a while.
func TestSignalEndsNoLookup(t *testing.T) {
	waits := make(chan struct{}, 1)
	far, _ := pair(t, server.Export{
		Resolve: func(ctx context.Context, _, name string) error {
			if name != "slow" {
				return nil
			}
			select {
			case waits <- struct{}{}:
			default:
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(300 * time.Millisecond):
				return nil
			}
		},
	}, client.Options{})
	thread := make(chan int, 1)
	looked := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		var st unix.Stat_t
		looked <- unix.Stat(filepath.Join(far, "slow"), &st)
	}()
	tid := <-thread
	<-waits
	for range 5 {
		require.NoError(t, unix.Tgkill(os.Getpid(), tid, unix.SIGURG))
		time.Sleep(10 * time.Millisecond)
	}
	require.ErrorIs(t, <-looked, unix.ENOENT)
}
