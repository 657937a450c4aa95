// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Short cuts are as good as long ones at showing that nothing is lost; what a minute
// adds is what the command is for.
func TestCuts(t *testing.T) {
	program := filepath.Join(t.TempDir(), "udsbridge")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/udsbridge")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	var said bytes.Buffer
	require.NoError(t, run(t.Context(), options{
		udsbridge: program, cuts: 6, streams: 3, down: 200 * time.Millisecond, up: 200 * time.Millisecond, out: &said,
	}))
	assert.Contains(t, said.String(), "6 cuts, 3 connections")
}

// A byte that is not the one that was sent is seen.
func TestChangeIsSeen(t *testing.T) {
	f := &flow{}
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		defer client.Close()
		b := make([]byte, 1000)
		_, _ = random(1).Read(b)
		b[500] ^= 1
		_, _ = client.Write(b)
	}()
	assert.ErrorContains(t, f.check(server, random(1)), "is not what was sent")
}
