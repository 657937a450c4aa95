// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
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

// Run runs go test with the arguments and prints its ordinary lines to out, without those that only say that a test
// begins. It fails if a test did, or if one was skipped that may not be.
func Run(ctx context.Context, args []string, out io.Writer) error {
	command := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	command.Stderr = os.Stderr
	events, err := command.StdoutPipe()
	if err != nil {
		return fmt.Errorf("run go test: %w", err)
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("run go test: %w", err)
	}
	skips, readErr := Read(events, out)
	if err := errors.Join(readErr, command.Wait()); err != nil {
		return fmt.Errorf("go test: %w", errors.Join(err, tell(skips, out)))
	}
	return tell(skips, out)
}

// Read prints the lines of a stream of events and collects the skipped tests.
func Read(events io.Reader, out io.Writer) ([]Skip, error) {
	var skips []Skip
	said := map[string]string{}
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return skips, nil
		}
		if err != nil {
			return skips, fmt.Errorf("read events: %w", err)
		}
		var e event
		if json.Unmarshal(line, &e) != nil {
			// What is no event is a message of the go command.
			_, _ = out.Write(line)
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
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
				skips = append(skips, Skip{e.Package, e.Test, said[key]})
			}
		case "pass", "fail":
			delete(said, key)
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
