// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// event is a line of what `go test -json` prints; see go doc test2json.
type event struct {
	Action, Package, Test, Output string
}

// Skip is a test that was skipped.
type Skip struct {
	// Package is the import path.
	Package string
	// Test is the test's name, with those of its parents.
	Test string
	// Reason is what it said.
	Reason string
}

// Result is what a run of go test came to.
type Result struct {
	// Skips are the tests that were skipped.
	Skips []Skip
	// broken are the packages that failed, with the tests that failed in them or never ended.
	broken map[string]map[string]bool
	// unbuilt says that something could not be built.
	unbuilt bool
}

// worthAgain says whether so little failed that it may have been chance.
func (r Result) worthAgain() bool {
	n := 0
	for _, tests := range r.broken {
		n += max(1, len(tests))
	}
	return !r.unbuilt && n > 0 && n <= maxAgain
}

// failed lists what failed, in an order of names.
func (r Result) failed() []failure {
	var all []failure
	for _, pkg := range slices.Sorted(maps.Keys(r.broken)) {
		all = append(all, failure{pkg, slices.Sorted(maps.Keys(r.broken[pkg]))})
	}
	return all
}

// Read prints the lines of a stream of events and collects what came of the tests.
func Read(events io.Reader, out io.Writer) (Result, error) {
	r := Result{broken: map[string]map[string]bool{}}
	said := map[string]string{}
	open := map[string]map[string]bool{} // the tests that have begun and neither passed nor were skipped, by package
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return r, nil
		}
		if err != nil {
			return r, fmt.Errorf("read events: %w", err)
		}
		var e event
		if json.Unmarshal(line, &e) != nil {
			// What is no event is a message of the go command.
			_, _ = out.Write(line)
			continue
		}
		key := e.Package + " " + e.Test
		top, _, part := strings.Cut(e.Test, "/")
		switch e.Action {
		case "run":
			if open[e.Package] == nil {
				open[e.Package] = map[string]bool{}
			}
			open[e.Package][top] = true
		case "output", "build-output":
			text := strings.TrimSpace(e.Output)
			if !strings.HasPrefix(text, "=== ") {
				_, _ = io.WriteString(out, e.Output)
			}
			if e.Test != "" && text != "" && !strings.HasPrefix(text, "=== ") && !strings.HasPrefix(text, "--- ") {
				said[key] = text
			}
		case "skip":
			if e.Test != "" { // A package without tests is skipped too.
				r.Skips = append(r.Skips, Skip{e.Package, e.Test, said[key]})
			}
		case "fail":
			if e.Test == "" {
				r.broken[e.Package] = open[e.Package]
			}
		case "build-fail":
			r.unbuilt = true
		}
		if e.Action == "pass" || e.Action == "skip" {
			delete(said, key)
			if !part {
				delete(open[e.Package], top)
			}
		}
	}
}

// tell lists the skipped tests and fails if one may not be.
func tell(skips []Skip, out io.Writer) error {
	var unknown []string
	for _, s := range skips {
		why, ok := allowed(s)
		if !ok {
			unknown = append(unknown, s.Package+" "+s.Test+": "+s.Reason)
			continue
		}
		fmt.Fprintf(out, "skipped: %s %s: %s (%s)\n", s.Package, s.Test, s.Reason, why)
	}
	if len(unknown) > 0 {
		return fmt.Errorf("tests were skipped that may not be (integration/verdict/allowed.go lists those that may):\n  %s",
			strings.Join(unknown, "\n  "))
	}
	return nil
}
