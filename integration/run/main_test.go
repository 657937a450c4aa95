// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/container-offload/offload/integration/lab"
)

// shared is the lab of all tests that do no harm to it.
var shared *lab.Lab

func TestMain(m *testing.M) { lab.Main(m, openShared) }

func openShared(ctx context.Context) (labs []*lab.Lab, err error) {
	if shared, err = lab.Open(ctx, lab.Options{Kind: lab.AskedKind()}); err != nil {
		return nil, err
	}
	if err := shared.Warm(ctx,
		[]string{"docker", "pull", "-q", image("busybox")},
		[]string{"ctr", "image", "pull", "--plain-http", image("busybox")},
		[]string{"docker", "run", "--rm", "-m", "64m", image("busybox"), "true"},
		[]string{"docker", "run", "--rm", "--network", "host", image("busybox"), "true"},
		ctrRun("--rm", image("busybox"), "warm", "true"),
	); err != nil {
		// The tests say in which way it does not work.
		fmt.Fprintln(os.Stderr, err)
	}
	return []*lab.Lab{shared}, nil
}

func image(name string) string { return lab.RegistryAddress + "/" + name + ":latest" }
