// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/container-offload/offload/integration/lab"
)

// heading begins the next step.
func (s *show) heading(text string) {
	s.step++
	line := fmt.Sprintf("%d. %s.", s.step, text)
	if s.Colour {
		line = "\x1b[1m" + line + "\x1b[0m"
	}
	fmt.Fprintf(s.Out, "\n%s\n", line)
}

func (s *show) say(format string, args ...any) {
	fmt.Fprintf(s.Out, "   "+format+"\n", args...)
}

// dpu runs a command on the DPU, as on below.
func (s *show) dpu(ctx context.Context, argv ...string) (string, error) {
	return s.on(ctx, s.lab.DPU, argv...)
}

// on shows a command and what it prints, and returns its standard output without the end of line.
func (s *show) on(ctx context.Context, env *lab.Env, argv ...string) (string, error) {
	s.prompt(env, argv)
	out, err := env.Command(ctx, argv...).Output()
	text := strings.TrimSuffix(string(out), "\n")
	s.block(text)
	return text, err
}

// quietly is dpu without the warnings and progress that a command mixes with its output.
func (s *show) quietly(ctx context.Context, argv ...string) (string, error) {
	s.prompt(s.lab.DPU, argv)
	out, err := s.lab.DPU.Command(ctx, argv...).Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	s.block(lines[len(lines)-1])
	return string(out), err
}

func (s *show) prompt(env *lab.Env, argv []string) {
	words := slices.Clone(argv)
	for i, word := range words {
		if strings.ContainsAny(word, " '\"$;&<>") {
			words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	s.say("%s# %s", env.Name(), strings.Join(words, " "))
}

func (s *show) block(text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		s.say("  %s", line)
	}
}

// processes shows and returns the command lines of all processes that an environment sees, but for its pid 1 and ps.
func (s *show) processes(ctx context.Context, env *lab.Env) ([]string, error) {
	const command = "ps -e -o pid=,rss=,args="
	out, err := env.Command(ctx, append(strings.Fields(command), "-ww")...).Output()
	if err != nil {
		return nil, err
	}
	s.prompt(env, strings.Fields(command))
	var commands []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] == "1" || fields[2] == "ps" {
			continue
		}
		args := strings.Join(fields[2:], " ")
		commands = append(commands, args)
		s.say("  %6s %6s KiB  %s", fields[0], fields[1], shortened(args))
	}
	return commands, nil
}

func shortened(text string) string {
	const most = 90
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

// has fails unless each of the texts is in one of the command lines.
func has(commands []string, texts ...string) error {
	for _, text := range texts {
		if !slices.ContainsFunc(commands, func(command string) bool { return strings.Contains(command, text) }) {
			return fmt.Errorf("no process %q", text)
		}
	}
	return nil
}

// only fails if a command is of a program that is not named.
func only(commands []string, programs ...string) error {
	for _, command := range commands {
		if program := filepath.Base(strings.Fields(command)[0]); !slices.Contains(programs, program) {
			return fmt.Errorf("%s", command)
		}
	}
	return nil
}
