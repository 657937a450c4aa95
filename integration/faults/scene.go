// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/container-offload/offload/integration/lab"
)

const (
	// patience is how long what does not depend on a fault may take. Nothing may ever hang.
	patience = 60 * time.Second
	// settling is how long the system may take to be well again after a fault.
	settling = 45 * time.Second
	// dataDir is the DPU's directory of which each witness has a part.
	dataDir = "/srv/faults"
)

// scene is where a fault happens: a lab, and what is drawn and noticed.
type scene struct {
	*lab.Lab
	in      surroundings
	options Options

	dice  *rand.Rand
	drawn []string
	notes []string
	// healed is when the fault was over, and works when everything was found to work after it.
	healed, works time.Time
	number        int
	// first is what each daemon of this lab had of everything when it was first seen.
	first map[string]int
}

// draw draws a time from least to most, in milliseconds, and tells it.
func (s *scene) draw(what string, least, most time.Duration) time.Duration {
	d := least
	if most > least {
		d += time.Duration(s.dice.Int64N(int64(most - least))).Round(time.Millisecond)
	}
	s.tell("  %s: %s", what, d)
	return d
}

// note keeps something for the table.
func (s *scene) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// over says that what was done to the system is undone: from now on it has to get well.
func (s *scene) over() { s.healed = time.Now() }

// name makes a name for a container.
func (s *scene) name(what string) string {
	s.number++
	return fmt.Sprintf("%s-%d", what, s.number)
}

// dpu runs a command on the DPU that has to succeed.
func (s *scene) dpu(ctx context.Context, argv ...string) (string, error) {
	return s.within(ctx, patience, s.DPU, argv...)
}

// on runs a script that has to succeed.
func (s *scene) on(ctx context.Context, env *lab.Env, script string) (string, error) {
	return s.within(ctx, patience, env, "sh", "-c", script)
}

// within runs a command that has to succeed within the time, and returns its output without the end of line.
func (s *scene) within(ctx context.Context, limit time.Duration, env *lab.Env, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out, errs bytes.Buffer
	command := env.Command(ctx, argv...)
	command.Stdout, command.Stderr = &out, &errs
	// A child that outlives the command would keep its output open.
	command.WaitDelay = time.Second
	err := command.Run()
	text := strings.TrimSuffix(out.String(), "\n")
	if ctx.Err() != nil {
		return text, fmt.Errorf("%s on the %s: not over after %s: %s", strings.Join(argv, " "), env.Name(), limit, tail(errs.String()))
	}
	if err != nil {
		// dockerd tells on the standard output why it can't do an exec.
		return text, &failure{argv: argv, env: env.Name(), code: lab.ExitCode(err), text: tail(out.String() + errs.String())}
	}
	return text, nil
}

// failure is a command's end other than success.
type failure struct {
	argv []string
	env  string
	code int
	text string
}

func (f *failure) Error() string {
	return fmt.Sprintf("%s on the %s: status %d: %s", strings.Join(f.argv, " "), f.env, f.code, f.text)
}

// tail is the end of a text, short enough for an error.
func tail(text string) string {
	const most = 600
	if len(text) > most {
		text = "…" + text[len(text)-most:]
	}
	return strings.TrimSpace(text)
}

// eventually asks until the answer is good, as long as settling allows.
func (s *scene) eventually(ctx context.Context, what string, check func(ctx context.Context) error) error {
	return eventually(ctx, settling, what, check)
}

func eventually(ctx context.Context, limit time.Duration, what string, check func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil && last != nil {
			err = last // what was cut short says nothing
		}
		last = err
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s, waited %s: %w", what, limit, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// pause lets time pass.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
