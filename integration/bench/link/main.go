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
	"runtime/pprof"

	"github.com/container-offload/offload/integration/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench-link:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var o options
	out := flag.String("out", "", "file for the report")
	profile := flag.String("profile", "", "file for a profile of the processor")
	flag.IntVar(&o.runs, "runs", 15, "interleaved runs of each measurement")
	flag.IntVar(&o.trips, "trips", 5000, "round trips in a run")
	flag.IntVar(&o.bytes, "bytes", 64<<20, "bytes moved in a run")
	isFar := flag.Bool("far", false, "be the far end, which the program starts by itself")
	dir := flag.String("certificates", "", "directory of the far end's certificates")
	flag.Parse()
	if *isFar {
		s, err := protection(*dir)
		if err != nil {
			return err
		}
		return runFar(ctx, s)
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	report := bench.Report{Machine: bench.Machine(runtime.NumCPU())}
	rows, err := measure(ctx, o)
	if err != nil {
		return err
	}
	report.Rows = rows
	return report.Present(*out)
}
