// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Report is what came of a run.
type Report struct {
	// Machine says what it ran on.
	Machine string `json:"machine"`
	Seed    uint64 `json:"seed"`
	Rounds  int    `json:"rounds"`
	// Took is how long the run took, in seconds.
	Took float64 `json:"took_seconds"`
	Rows []Row   `json:"rows"`
}

// Row is about all injections of one fault.
type Row struct {
	Group    string `json:"group"`
	Fault    string `json:"fault"`
	Expected string `json:"expected"`
	Injected int    `json:"injected"`
	// Held is how often all that was expected was found.
	Held int `json:"held"`
	// Slowest is the longest time from the end of the fault until everything worked again, in seconds.
	Slowest float64 `json:"slowest_recovery_seconds"`
	// Found is what was found instead, once each.
	Found []string `json:"found,omitempty"`
	// Notes are what else was noticed, such as figures, once each.
	Notes []string `json:"notes,omitempty"`
}

// Held tells whether every injection of every fault was withstood.
func (r *Report) Held() bool {
	return !slices.ContainsFunc(r.Rows, func(row Row) bool { return row.Held < row.Injected })
}

// outcome is what came of one injection.
type outcome struct {
	recovery time.Duration
	notes    []string
	err      error
}

// add enters an injection's outcome.
func (r *Report) add(f *fault, o outcome) {
	at := slices.IndexFunc(r.Rows, func(row Row) bool { return row.Fault == f.name })
	if at < 0 {
		at = len(r.Rows)
		r.Rows = append(r.Rows, Row{Group: f.group, Fault: f.name, Expected: f.expect})
	}
	row := &r.Rows[at]
	row.Injected++
	if o.err == nil {
		row.Held++
		row.Slowest = max(row.Slowest, o.recovery.Round(10*time.Millisecond).Seconds())
	} else if text := o.err.Error(); !slices.Contains(row.Found, text) {
		row.Found = append(row.Found, text)
	}
	for _, note := range o.notes {
		if !slices.Contains(row.Notes, note) {
			row.Notes = append(row.Notes, note)
		}
	}
}

// inOrder sorts the rows as the catalogue has them.
func (r *Report) inOrder() {
	position := func(name string) int {
		if name == afterwards.name {
			return len(catalogue)
		}
		return slices.IndexFunc(catalogue, func(f *fault) bool { return f.name == name })
	}
	slices.SortFunc(r.Rows, func(a, b Row) int { return position(a.Fault) - position(b.Fault) })
}

// Write writes the report as JSON, and makes the directory for it.
func (r *Report) Write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// Read reads a report that Write has written.
func Read(path string) (*Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("read report %s: %w", path, err)
	}
	return &r, nil
}

// Table prints the report for a document, in Markdown.
func (r *Report) Table(out io.Writer) error {
	var b strings.Builder
	injected, held := 0, 0
	for _, row := range r.Rows {
		injected, held = injected+row.Injected, held+row.Held
	}
	fmt.Fprintf(&b, "Seed %d, %d injections of %d faults in %s; %d went as expected. Machine: %s.\n",
		r.Seed, injected, len(r.Rows), (time.Duration(r.Took) * time.Second).String(), held, r.Machine)
	group := ""
	for _, row := range r.Rows {
		if row.Group != group {
			group = row.Group
			fmt.Fprintf(&b, "\n### %s\n\n| fault | expected | injected | as expected | slowest recovery | |\n|---|---|---|---|---|---|\n", group)
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %.1f s | %s |\n", cell(row.Fault), cell(row.Expected), row.Injected, row.Held,
			row.Slowest, cell(strings.Join(slices.Concat(row.Found, row.Notes), "; ")))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// longestCell keeps a table readable; the JSON has the whole text.
const longestCell = 300

func cell(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > longestCell {
		text = string(runes[:longestCell]) + "…"
	}
	return strings.ReplaceAll(text, "|", "\\|")
}

// The lines of a document between which the table goes.
const (
	tableBegins = "<!-- The table below is made by make fault-table. -->\n"
	tableEnds   = "<!-- The end of the table. -->\n"
)

// Render puts the report's table into the document at path, in place of the one that it has.
func (r *Report) Render(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("render report: %w", err)
	}
	before, rest, ok := strings.Cut(string(text), tableBegins)
	_, after, ends := strings.Cut(rest, tableEnds)
	if !ok || !ends {
		return fmt.Errorf("render report: %s has no place for the table", path)
	}
	var table strings.Builder
	if err := r.Table(&table); err != nil {
		return err
	}
	whole := before + tableBegins + "\n" + table.String() + "\n" + tableEnds + after
	if err := os.WriteFile(path, []byte(whole), 0o644); err != nil {
		return fmt.Errorf("render report: %w", err)
	}
	return nil
}
