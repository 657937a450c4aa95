// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package processes

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDPUHalves(t *testing.T) {
	// Any program will do that has the name and lives.
	program := filepath.Join(t.TempDir(), dpuHalf)
	sh, err := os.ReadFile("/bin/sh")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(program, sh, 0o755))
	before := time.Now()
	start := func(env ...string) int {
		cmd := exec.Command(program, "-c", "read x", "-namespace", "ns-1", "-id", "task")
		cmd.Env = append(os.Environ(), env...)
		_, err := cmd.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd.Process.Pid
	}
	half := start(PodEnv + "=pod-1")
	starter := start()

	halves, err := DPUHalves()
	require.NoError(t, err)
	byPID := map[int]Half{}
	for _, h := range halves {
		byPID[h.PID] = h
	}
	require.Contains(t, byPID, half)
	assert.NotContains(t, byPID, starter, "one that names no pod")
	got := byPID[half]
	assert.Equal(t, "ns-1", got.Namespace)
	assert.Equal(t, "pod-1", got.ID)
	assert.WithinDuration(t, before, got.Started, 5*time.Second)

	require.NoError(t, os.Remove(program))
	assert.True(t, Runs(half, dpuHalf), "its program was replaced")
	assert.False(t, Runs(os.Getpid(), dpuHalf))
}

func TestStartedOfNobody(t *testing.T) {
	_, err := Started(1 << 30)
	assert.ErrorIs(t, err, os.ErrNotExist)
}
