// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/container-offload/offload/integration/bench"
)

func main() {
	var err error
	if len(os.Args) == 4 && os.Args[1] == "--role" {
		err = play(os.Args[2], os.Args[3])
	} else {
		err = run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-remotefs:", err)
		os.Exit(1)
	}
}

func run() error {
	out := flag.String("out", "build/bench/remotefs.json", "file for the report")
	work := flag.String("dir", "", "directory on the file system to measure (default: below the one for temporary files)")
	rounds := flag.Int("rounds", 3, "rounds of each peer")
	mib := flag.Int("size", 256, "MiB of the large file")
	files := flag.Int("files", 2000, "small files")
	flag.Parse()
	dir, err := os.MkdirTemp(*work, "bench-remotefs")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &benchmark{dir: dir, data: filepath.Join(dir, "data"), size: int64(*mib) << 20, files: *files}
	if err := b.prepare(); err != nil {
		return err
	}
	for round := range *rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, *rounds)
		if err := b.round(); err != nil {
			return err
		}
	}
	report := bench.Report{Machine: bench.Machine(runtime.NumCPU()), Rows: b.rows()}
	return report.Present(*out)
}
