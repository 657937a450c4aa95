// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// warmPatience is how long a command that warms a lab up may take.
const warmPatience = time.Minute

// AskedKind is the kind of lab that the environment asks for with OFFLOAD_LAB_KIND, by default [Offload].
func AskedKind() Kind {
	if k := os.Getenv("OFFLOAD_LAB_KIND"); k != "" {
		return Kind(k)
	}
	return Offload
}

// Main is the whole TestMain of a package whose tests, m, share labs: it does not return. open opens the labs, and
// returns those that it opened with its error too. They are closed after the tests, and what they leave on the machine
// fails the package.
func Main(m interface{ Run() int }, open func(ctx context.Context) ([]*Lab, error)) {
	RunChild()
	code, err := runSuite(m, open)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func runSuite(m interface{ Run() int }, open func(ctx context.Context) ([]*Lab, error)) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	labs, err := open(ctx)
	if err == nil {
		code = m.Run()
	}
	for _, l := range labs {
		err = errors.Join(err, closeWhole(l))
	}
	return code, err
}

// closeWhole closes the lab, and fails if it leaves anything on the machine.
func closeWhole(l *Lab) error {
	id := l.ID()
	if err := l.Close(); err != nil {
		return err
	}
	traces, err := Traces(id)
	if len(traces) > 0 {
		err = errors.Join(err, fmt.Errorf("left on the machine:\n  %s", strings.Join(traces, "\n  ")))
	}
	return err
}

// Warm runs commands on the DPU that make what is made once and kept, such as parent cgroups and snapshots of images,
// so that it is there before a test looks. All are run, whatever comes of one.
func (l *Lab) Warm(ctx context.Context, commands ...[]string) error {
	var errs []error
	for _, argv := range commands {
		ctx, cancel := context.WithTimeout(ctx, warmPatience)
		out, err := l.DPU.Command(ctx, argv...).CombinedOutput()
		cancel()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out))
		}
	}
	return errors.Join(errs...)
}
