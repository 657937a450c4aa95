// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/container-offload/offload/integration/bench"
)

// Goals: rexec of a program that does nothing takes a fifth of what ssh with a kept
// connection takes, and moves twice as much.
const (
	goalRun  = 0.2
	goalPipe = 2
)

type options struct {
	rexec       string
	runs, pipes int
	bytes       int64
}

// measure returns all rows.
func measure(ctx context.Context, o options) (rows []bench.Row, err error) {
	dir, err := os.MkdirTemp("", "bench-rexec-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l := &lab{dir: dir}
	defer l.close()
	ways, err := l.ways(ctx, o.rexec)
	if err != nil {
		return nil, err
	}
	times, speeds := make([][]float64, len(ways)), make([][]float64, len(ways))
	for run := range o.runs + 1 { // the first one warms up
		for i, w := range ways {
			took, err := w.runTrue(ctx)
			if err != nil {
				return nil, err
			}
			if run > 0 {
				times[i] = append(times[i], took.Seconds())
			}
		}
	}
	for range o.pipes {
		for i, w := range ways {
			speed, err := w.pipe(ctx, o.bytes)
			if err != nil {
				return nil, err
			}
			speeds[i] = append(speeds[i], speed)
		}
	}
	median := func(v []float64) float64 { return bench.Quantile(v, 0.5) }
	for i, w := range ways {
		if w.peer {
			continue
		}
		for j, p := range ways {
			if p.peer {
				rows = append(rows,
					bench.NewRow("true, "+w.name, p.name, "s", median(times[i]), median(times[j]), goalRun, bench.Lower, o.runs),
					bench.NewRow("bytes through cat and back, "+w.name, p.name, "B/s", median(speeds[i]), median(speeds[j]), goalPipe, bench.Higher, o.pipes))
			}
		}
	}
	return rows, nil
}

// way is a way to run a program: a command to which the program's own is added.
type way struct {
	name string
	peer bool // not ours
	argv []string
	env  []string
}

func (w way) command(ctx context.Context, args ...string) *exec.Cmd {
	argv := append(append([]string(nil), w.argv...), args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), w.env...)
	cmd.Stderr = os.Stderr
	return cmd
}

// runTrue returns how long a program takes that does nothing.
func (w way) runTrue(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if err := w.command(ctx, "/bin/true").Run(); err != nil {
		return 0, fmt.Errorf("%s: %w", w.name, err)
	}
	return time.Since(began), nil
}

// pipe returns how many bytes a second pass through a program and come back.
func (w way) pipe(ctx context.Context, size int64) (float64, error) {
	cmd := w.command(ctx, "/bin/cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	began := time.Now()
	fed := make(chan error, 1)
	go func() {
		buf := make([]byte, 256<<10)
		var err error
		for left := size; left > 0 && err == nil; {
			var n int
			n, err = in.Write(buf[:min(left, int64(len(buf)))])
			left -= int64(n)
		}
		fed <- errors.Join(err, in.Close())
	}()
	got, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{out}, make([]byte, 256<<10))
	took := time.Since(began)
	if err := errors.Join(err, <-fed, cmd.Wait()); err != nil {
		return 0, fmt.Errorf("%s: %w", w.name, err)
	}
	if got != size {
		return 0, fmt.Errorf("%s: %d bytes of %d came back", w.name, got, size)
	}
	return float64(size) / took.Seconds(), nil
}
