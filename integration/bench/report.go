// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// The two values of Row.Better.
const (
	Lower  = "lower"
	Higher = "higher"
)

// Report is what a benchmark has found.
type Report struct {
	// Machine says what it ran on.
	Machine string `json:"machine"`
	Rows    []Row  `json:"rows"`
}

// Row compares one figure with a peer's.
type Row struct {
	// Row says what was measured.
	Row string `json:"row"`
	// Peer says what it was compared with.
	Peer string `json:"peer"`
	// Unit is that of the two figures: s, B, B/s, and so on, with no prefix.
	Unit  string  `json:"unit"`
	Ours  float64 `json:"ours"`
	Peers float64 `json:"peer_value"`
	// Ratio is Ours by Peers.
	Ratio float64 `json:"ratio"`
	// Goal is what the ratio is to be at most, or at least, as Better says. Zero is none.
	Goal   float64 `json:"goal"`
	Better string  `json:"better"`
	// Runs is how many measurements each figure is taken from.
	Runs int `json:"runs"`
}

// NewRow fills in the ratio. better is Lower or Higher.
func NewRow(name, peer, unit string, ours, peers, goal float64, better string, runs int) Row {
	r := Row{Row: name, Peer: peer, Unit: unit, Ours: ours, Peers: peers, Goal: goal, Better: better, Runs: runs}
	if peers != 0 {
		r.Ratio = ours / peers
	}
	return r
}

// Met tells whether the row has reached its goal. Without one it has.
func (r Row) Met() bool {
	switch {
	case r.Goal == 0:
		return true
	case r.Better == Higher:
		return r.Ratio >= r.Goal
	}
	return r.Ratio <= r.Goal
}

// bound is the goal for people, with the signs for at most and at least.
func (r Row) bound(most, least string) string {
	switch {
	case r.Goal == 0:
		return ""
	case r.Better == Higher:
		return fmt.Sprintf("%s %.2f", least, r.Goal)
	}
	return fmt.Sprintf("%s %.2f", most, r.Goal)
}

// Quantile is the value below which the share q, from 0 to 1, of the values lies, or zero if there are none. Of a few
// values the quantile near 1 is the largest.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	at := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(at, 0), len(sorted)-1)]
}

// Write writes the report to a file, whose directories it makes.
func (r Report) Write(file string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// Present prints the report for people, and writes it to a file too unless that is empty.
func (r Report) Present(file string) error {
	if file != "" {
		if err := r.Write(file); err != nil {
			return err
		}
	}
	return r.Table(os.Stdout)
}

// Table prints the report for people. Rows short of their goal are marked.
func (r Report) Table(out io.Writer) error {
	fmt.Fprintln(out, r.Machine)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "row\tours\tpeer\tratio\tgoal\truns\t\tcompared with")
	for _, row := range r.Rows {
		mark := ""
		if !row.Met() {
			mark = "short"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.2f\t%s\t%d\t%s\t%s\n", row.Row, Figure(row.Ours, row.Unit),
			Figure(row.Peers, row.Unit), row.Ratio, row.bound("<=", ">="), row.Runs, mark, " "+row.Peer)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print report: %w", err)
	}
	return nil
}

// Figure is a value with its unit and the prefix that suits it: binary ones for bytes.
func Figure(value float64, unit string) string {
	step, prefixes := 1000.0, []string{"n", "µ", "m", "", "k", "M", "G"}
	if strings.HasPrefix(unit, "B") {
		step, prefixes = 1024, []string{"", "", "", "", "Ki", "Mi", "Gi"}
	}
	at := 3
	for math.Abs(value) >= step && at < len(prefixes)-1 {
		value, at = value/step, at+1
	}
	for step == 1000 && value != 0 && math.Abs(value) < 1 && at > 0 {
		value, at = value*step, at-1
	}
	return fmt.Sprintf("%.3g %s%s", value, prefixes[at], unit)
}

// Machine describes this machine: processors and their model, memory, kernel.
func Machine(cpus int) string {
	model, memory := field("/proc/cpuinfo", "model name"), strings.Fields(field("/proc/meminfo", "MemTotal"))
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("unknown")
	}
	text := fmt.Sprintf("%d x %s, Linux %s", cpus, model, strings.TrimSpace(string(kernel)))
	if len(memory) > 0 {
		text += ", " + memory[0] + " KiB"
	}
	return text
}

// field is the first value of a key in a file of the kernel's.
func field(file, key string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
