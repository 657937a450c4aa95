// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/container-offload/offload/integration/faults"
)

func faultsCommand() *cobra.Command {
	var out, only, render string
	options := faults.Options{Log: os.Stderr}
	cmd := &cobra.Command{
		Use:   "faults",
		Short: "Kill, freeze, cut, fill and overload what runs in a lab, and hold what has to come of it",
		Long: `Inject faults into a lab, one after the other, and compare what comes of each with what is expected. All that is left
to chance comes from the seed, which is printed: the same seed injects the same faults again.`,
		Example: `  offload-lab faults --seed 7 --rounds 3
  offload-lab faults --seed 7 --only '^kill offload-dpu$'
  offload-lab faults --out build/report/faults.json --render docs/faults.md`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if render != "" {
				return renderFaults(out, render)
			}
			if only != "" {
				pattern, err := regexp.Compile(only)
				if err != nil {
					return err
				}
				options.Only = pattern
			}
			if options.Seed == 0 {
				options.Seed = uint64(rand.Uint32())
			}
			return runFaults(cmd.Context(), options, out)
		},
	}
	cmd.Flags().Uint64Var(&options.Seed, "seed", 0, "what chance is drawn from (default: by chance)")
	cmd.Flags().IntVar(&options.Rounds, "rounds", 1, "how often each fault is injected")
	cmd.Flags().StringVar(&only, "only", "", "inject only faults whose name matches this regular expression")
	cmd.Flags().BoolVar(&options.Short, "short", false, "leave out what takes more than seconds")
	cmd.Flags().StringVar(&out, "out", "", "write the report to this file too, or with --render read it from there")
	cmd.Flags().StringVar(&render, "render", "", "inject nothing, but put the table of the last report into this document")
	cmd.Flags().StringVar(&options.Build, "build", "", "the build directory (default: build in this repository)")
	return cmd
}

func soakCommand() *cobra.Command {
	options := faults.Options{Log: os.Stderr}
	var duration time.Duration
	cmd := &cobra.Command{
		Use:   "soak",
		Short: "Have containers come and go for long while things break, and compare what there is before and after",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if options.Seed == 0 {
				options.Seed = uint64(rand.Uint32())
			}
			return faults.Soak(cmd.Context(), options, duration, os.Stdout)
		},
	}
	cmd.Flags().Uint64Var(&options.Seed, "seed", 0, "what chance is drawn from (default: by chance)")
	cmd.Flags().DurationVar(&duration, "duration", time.Hour, "how long")
	cmd.Flags().StringVar(&options.Build, "build", "", "the build directory (default: build in this repository)")
	return cmd
}

func runFaults(ctx context.Context, options faults.Options, out string) error {
	report, err := faults.Run(ctx, options)
	if report != nil && out != "" {
		err = errors.Join(err, report.Write(out))
	}
	if err != nil {
		return err
	}
	if err := report.Table(os.Stdout); err != nil {
		return err
	}
	if !report.Held() {
		return fmt.Errorf("not everything went as expected; --seed %d injects the same again", options.Seed)
	}
	return nil
}

func renderFaults(from, page string) error {
	report, err := faults.Read(from)
	if err != nil {
		return err
	}
	return report.Render(page)
}
