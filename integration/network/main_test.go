// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-offload/offload/integration/lab"
)

// shared is the lab of all tests.
var shared *lab.Lab

func TestMain(m *testing.M) { lab.Main(m, openShared) }

func openShared(ctx context.Context) (labs []*lab.Lab, err error) {
	options := lab.Options{Kind: lab.AskedKind()}
	if c := os.Getenv("OFFLOAD_LAB_CARRIER"); c != "" {
		options.DPUConfig = fmt.Sprintf("\n[network]\ncarrier = %q\n", c)
		options.HostConfig = options.DPUConfig
	}
	if shared, err = lab.Open(ctx, options); err != nil {
		return nil, err
	}
	labs = []*lab.Lab{shared}
	if err := bringPeer(ctx); err != nil {
		return labs, err
	}
	return labs, shared.Warm(ctx,
		[]string{"docker", "pull", "-q", shared.Image("busybox")},
		[]string{"ctr", "image", "pull", "--plain-http", shared.Image("busybox")},
		[]string{"sh", "-c", "ip netns add warm && ip netns del warm"},
		[]string{"docker", "run", "--rm", "--network", "host", shared.Image("busybox"), "true"},
		append(append([]string{"ctr", "run", "--rm"}, strings.Fields(runtime())...), shared.Image("busybox"), "warm", "true"),
		[]string{"docker", "run", "--rm", "-p", "1:1", shared.Image("busybox"), "true"},
	)
}

// peerProgram is where, on the DPU, the program of integration/bench/net/peer is, which serves what busybox does not.
const peerProgram = "/root/peer"

// bringPeer builds the program and takes it to the DPU.
func bringPeer(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "offload-network-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "peer")
	build := exec.CommandContext(ctx, "go", "build", "-o", file, "github.com/container-offload/offload/integration/bench/net/peer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build peer: %w: %s", err, out)
	}
	if err := shared.DPU.CopyIn(file, peerProgram); err != nil {
		return err
	}
	return shared.DPU.Do(func() error { return os.Chmod(peerProgram, 0o755) })
}
