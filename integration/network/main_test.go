// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/integration/lab"
)

// shared is the lab of all tests.
var shared *lab.Lab

func TestMain(m *testing.M) {
	lab.RunChild()
	code, err := withLab(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

// kind is what is tested.
func kind() lab.Kind {
	if k := os.Getenv("OFFLOAD_LAB_KIND"); k != "" {
		return lab.Kind(k)
	}
	return lab.Offload
}

func withLab(m *testing.M) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	options := lab.Options{Kind: kind()}
	if c := os.Getenv("OFFLOAD_LAB_CARRIER"); c != "" {
		options.DPUConfig = fmt.Sprintf("\n[network]\ncarrier = %q\n", c)
		options.HostConfig = options.DPUConfig
	}
	if shared, err = lab.Open(ctx, options); err != nil {
		return 1, err
	}
	if err := bringPeer(ctx); err != nil {
		return 1, errors.Join(err, shared.Close())
	}
	id := shared.ID()
	defer func() {
		traces, traceErr := []string(nil), shared.Close()
		if traceErr == nil {
			traces, traceErr = lab.Traces(id)
		}
		if len(traces) > 0 {
			traceErr = errors.Join(traceErr, fmt.Errorf("left on the machine:\n  %s", strings.Join(traces, "\n  ")))
		}
		err = errors.Join(err, traceErr)
	}()
	// What is made once and kept is there before the first test looks.
	for _, argv := range [][]string{
		{"docker", "pull", "-q", shared.Image("busybox")},
		{"ctr", "image", "pull", "--plain-http", shared.Image("busybox")},
		{"sh", "-c", "ip netns add warm && ip netns del warm"},
		{"docker", "run", "--rm", "--network", "host", shared.Image("busybox"), "true"},
		append(append([]string{"ctr", "run", "--rm"}, strings.Fields(runtime())...), shared.Image("busybox"), "warm", "true"),
		{"docker", "run", "--rm", "-p", "1:1", shared.Image("busybox"), "true"},
	} {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		out, err := shared.DPU.Command(ctx, argv...).CombinedOutput()
		cancel()
		if err != nil {
			return 1, fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
		}
	}
	return m.Run(), nil
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
