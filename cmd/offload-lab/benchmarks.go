// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/container-offload/offload/integration/bench"
	benchdata "github.com/container-offload/offload/integration/bench/data"
	benchnet "github.com/container-offload/offload/integration/bench/net"
	benchrun "github.com/container-offload/offload/integration/bench/run"
	"github.com/container-offload/offload/integration/lab"
)

// measuring makes cmd one that runs a benchmark, prints its report, and writes it to a file that a flag names.
func measuring(cmd *cobra.Command, run func(context.Context) (bench.Report, error)) *cobra.Command {
	var out string
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		report, err := run(cmd.Context())
		if err != nil {
			return err
		}
		return report.Present(out)
	}
	cmd.Flags().StringVar(&out, "out", "", "write the report to this file too")
	return cmd
}

// buildUsage describes the flag that all benchmarks have.
const buildUsage = "the build directory (default: build in this repository)"

func benchRunCommand() *cobra.Command {
	options := benchrun.Options{Progress: os.Stderr}
	var stock bool
	cmd := measuring(&cobra.Command{
		Use:     "bench-run",
		Short:   "Time docker run, docker exec and ctr run, and weigh the HOST, against stock daemons",
		Example: "  offload-lab bench-run --out build/bench/run.json",
	}, func(ctx context.Context) (bench.Report, error) {
		if stock {
			options.Kind = lab.Stock
		}
		return benchrun.Run(ctx, options)
	})
	cmd.Flags().IntVar(&options.Runs, "runs", 50, "how often each command is timed on each side")
	cmd.Flags().BoolVar(&stock, "stock", false, "compare stock with stock, to see how much chance there is in it")
	cmd.Flags().StringVar(&options.Build, "build", "", buildUsage)
	return cmd
}

func benchDataCommand() *cobra.Command {
	options := benchdata.Options{Progress: os.Stderr}
	cmd := measuring(&cobra.Command{
		Use:     "bench-data",
		Short:   "Measure containers' output, logs, docker cp, docker pull and docker build against stock daemons",
		Example: "  offload-lab bench-data --out build/bench/data.json",
	}, func(ctx context.Context) (bench.Report, error) { return benchdata.Run(ctx, options) })
	cmd.Flags().IntVar(&options.Runs, "runs", 5, "how often each workload is timed on each side")
	cmd.Flags().StringVar(&options.Build, "build", "", buildUsage)
	return cmd
}

func benchNetCommand() *cobra.Command {
	options := benchnet.Options{Progress: os.Stderr}
	cmd := measuring(&cobra.Command{
		Use:     "bench-net",
		Short:   "Measure the networks of containers against stock docker's bridge and against the link itself",
		Example: "  offload-lab bench-net --peer build/peer --out build/bench/net.json",
	}, func(ctx context.Context) (bench.Report, error) { return benchnet.Run(ctx, options) })
	cmd.Flags().StringVar(&options.Peer, "peer", "build/peer", "the program that makes the traffic")
	cmd.Flags().IntVar(&options.Runs, "runs", 3, "how often each figure is taken on each side")
	cmd.Flags().IntVar(&options.Seconds, "seconds", 2, "how long each measurement of throughput takes")
	cmd.Flags().StringVar(&options.Build, "build", "", buildUsage)
	return cmd
}
