// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/integration/lab"
	"github.com/container-offload/offload/integration/vm"
)

// pair is the machines of all tests.
var pair *vm.Pair

func TestMain(m *testing.M) {
	code, err := withPair(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

// withPair runs the tests with a pair of machines, and fails if that leaves anything on this machine.
func withPair(m *testing.M) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	build, err := lab.FindBuild()
	if err != nil {
		return 1, err
	}
	if os.Getenv("OFFLOAD_VM_ATTACH") != "" {
		if pair, err = vm.AttachPair(filepath.Join(build, "vm")); err != nil {
			return 1, err
		}
		return m.Run(), nil
	}
	pair, err = vm.Open(ctx, vm.Options{
		Cache: filepath.Join(build, "vm"), Repository: filepath.Dir(build), Log: os.Stderr,
	})
	if err != nil {
		return 1, err
	}
	defer func() {
		err = errors.Join(err, pair.KeepLogs(filepath.Join(build, "log", "vm")), pair.Close())
		if _, gone := os.Lstat(pair.Dir); !errors.Is(gone, os.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("%s was left behind", pair.Dir))
		}
	}()
	if err := pair.Install(ctx, vm.TCP); err != nil {
		return 1, err
	}
	registry, err := pair.ServeImages(ctx, imagesDir(build), "busybox")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, registry.Close()) }()
	return m.Run(), nil
}
