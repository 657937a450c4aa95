// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"

	"github.com/container-offload/offload/integration/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench-rexec:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var o options
	out := flag.String("out", "", "file for the report")
	flag.StringVar(&o.rexec, "rexec", "build/bin/rexec", "the program")
	flag.IntVar(&o.runs, "runs", 40, "interleaved runs of true")
	flag.IntVar(&o.pipes, "pipes", 3, "interleaved runs of cat")
	flag.Int64Var(&o.bytes, "bytes", 1<<30, "bytes through cat in a run")
	flag.Parse()
	rows, err := measure(ctx, o)
	if err != nil {
		return err
	}
	report := bench.Report{Machine: bench.Machine(runtime.NumCPU()), Rows: rows}
	return report.Present(*out)
}
