// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Publish makes documents of what the benchmarks have found: of each report a copy and a plot, and one page with all.
//
//	go run ./integration/bench/publish --from build/bench --to docs/benchmarks
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/container-offload/offload/integration/bench"
)

func main() {
	from := flag.String("from", "build/bench", "the directory with the reports")
	to := flag.String("to", "docs/benchmarks", "the directory of the documents")
	flag.Parse()
	if err := publish(*from, *to); err != nil {
		fmt.Fprintln(os.Stderr, "publish:", err)
		os.Exit(1)
	}
}

// titles are the reports in the order of the page.
var titles = []struct{ name, title string }{
	{"run", "Starting containers, and what the HOST spends on them"},
	{"data", "What moves bytes"},
	{"net", "Networks of containers"},
	{"remotefs", "Files of the other machine"},
	{"bridge", "Bridged unix sockets"},
	{"rexec", "Programs of the other machine"},
	{"link", "The link"},
}

func publish(from, to string) (err error) {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	page, err := os.Create(filepath.Join(to, "README.md"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, page.Close()) }()
	fmt.Fprint(page, "# Benchmarks\n\n`make bench` writes this page. Ratios are ours by the peer's, measured in one run; bold ones have reached their goal. [performance](../performance.md) tells what they are made of.\n")
	for _, t := range titles {
		var report bench.Report
		text, err := os.ReadFile(filepath.Join(from, t.name+".json"))
		if errors.Is(err, os.ErrNotExist) {
			continue // make bench-NAME alone has not been run yet
		}
		if err == nil {
			err = json.Unmarshal(text, &report)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", t.name, err)
		}
		if err := report.Write(filepath.Join(to, t.name+".json")); err != nil {
			return err
		}
		var plot strings.Builder
		if err := report.Plot(&plot, t.title); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, t.name+".svg"), []byte(plot.String()), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(page, "\n## %s\n\n![](%s.svg)\n\n", t.title, t.name)
		if err := report.Markdown(page); err != nil {
			return err
		}
	}
	return nil
}
