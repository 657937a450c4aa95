// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/integration/lab"
)

// shared is the lab of all tests that do no harm to it.
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

// withLab runs the tests in a lab, and fails if that leaves anything on the machine.
func withLab(m *testing.M) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if shared, err = lab.Open(ctx, lab.Options{Kind: kind()}); err != nil {
		return 1, err
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
	// What is made once and kept, such as parent cgroups and image snapshots, is there before the first test looks.
	for _, argv := range [][]string{
		{"docker", "pull", "-q", image("busybox")},
		{"ctr", "image", "pull", "--plain-http", image("busybox")},
		{"docker", "run", "--rm", "-m", "64m", image("busybox"), "true"},
		{"docker", "run", "--rm", "--network", "host", image("busybox"), "true"},
		ctrRun("--rm", image("busybox"), "warm", "true"),
	} {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		out, err := shared.DPU.Command(ctx, argv...).CombinedOutput()
		cancel()
		if err != nil {
			// The tests say in which way it does not work.
			fmt.Fprintf(os.Stderr, "%v: %s\n", err, out)
		}
	}
	return m.Run(), nil
}

func image(name string) string { return lab.RegistryAddress + "/" + name + ":latest" }
