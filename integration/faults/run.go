// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/integration/lab"
)

// Options say what to inject.
type Options struct {
	// Seed is what chance is drawn from.
	Seed uint64
	// Rounds is how often each fault is injected.
	Rounds int
	// Only, if not nil, leaves out the faults whose names don't match.
	Only *regexp.Regexp
	// Short leaves out what takes long.
	Short bool
	// Build is the build directory; see [lab.Options].
	Build string
	// Log gets a line for each injection and one for what came of it.
	Log io.Writer
}

// fault is one thing that can happen.
type fault struct {
	group, name string
	// expect is what has to come of it, for whoever reads the table.
	expect string
	// short tells that it is in the short pass: it takes a few seconds.
	short bool
	in    surroundings
	// steady tells that no daemon is disturbed, so that each has to have as much of everything afterwards as before.
	steady bool
	// inject lets it happen to a system that is well, and holds what has to come of it.
	inject func(ctx context.Context, s *scene) error
}

// catalogue is every fault there is.
var catalogue = slicesOf(processFaults(), pairFaults(), runcFaults(), linkFaults(), roomFaults(), limitFaults(), loadFaults())

func slicesOf(groups ...[]*fault) []*fault {
	var all []*fault
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

// injectionTimeout bounds one injection, with all that is held about it. Nothing may hang.
const injectionTimeout = 6 * time.Minute

// Run injects the faults, one after the other. The error is about the run itself; what a fault did is in the report.
func Run(ctx context.Context, o Options) (*Report, error) {
	all := plan(catalogue, o.Only, o.Short, max(o.Rounds, 1), o.Seed)
	if len(all) == 0 {
		return nil, errors.New("inject faults: there is none of that name")
	}
	r := &Report{Machine: machine(), Seed: o.Seed, Rounds: max(o.Rounds, 1)}
	begun := time.Now()
	s := &scene{options: o}
	fmt.Fprintf(o.Log, "seed %d: %d injections\n", o.Seed, len(all))
	for n, i := range all {
		if s.Lab != nil && s.in != i.fault.in {
			r.add(afterwards, s.rest(ctx))
		}
		if err := s.enter(ctx, i.fault.in); err != nil {
			return r, errors.Join(err, s.leave())
		}
		out := s.one(ctx, i)
		if ctx.Err() != nil {
			return r, errors.Join(fmt.Errorf("inject faults: %w", context.Cause(ctx)), s.leave())
		}
		r.add(i.fault, out)
		s.tell("%d/%d %s: %s", n+1, len(all), i.fault.name, verdict(out))
		if out.err != nil {
			// What is left of it must not be blamed on the next one.
			if err := s.leave(); err != nil {
				return r, err
			}
		}
	}
	if s.Lab != nil {
		r.add(afterwards, s.rest(ctx))
	}
	r.Took = time.Since(begun).Seconds()
	r.inOrder()
	return r, s.leave()
}

// afterwards is what is held about a lab in which nothing is wrong any more: its daemons have as much of everything as
// when they were started.
var afterwards = &fault{
	group: "Afterwards", name: "nothing, for as long as a lost session is kept",
	expect: "the daemons have as many descriptors, threads and goroutines as in the beginning",
}

// rest lets all that is kept for a time end, and compares what each daemon has with what it had first.
func (s *scene) rest(ctx context.Context) outcome {
	s.tell("%s", afterwards.name)
	o := outcome{err: eventually(ctx, patienceOf(s.in)+settling, "left behind", func(ctx context.Context) error {
		now, err := s.survey(ctx)
		if err != nil {
			return err
		}
		if more := now.more(s.first); len(more) > 0 {
			return errors.New(strings.Join(more, ", "))
		}
		return nil
	})}
	s.tell("%s: %s", afterwards.name, verdict(o))
	return o
}

func verdict(o outcome) string {
	if o.err != nil {
		return "NOT AS EXPECTED: " + o.err.Error()
	}
	text := fmt.Sprintf("as expected, all well after %.2f s", o.recovery.Seconds())
	if len(o.notes) > 0 {
		text += " (" + strings.Join(o.notes, "; ") + ")"
	}
	return text
}

// one injects one fault and compares what is there before and after.
func (s *scene) one(ctx context.Context, i injection) (o outcome) {
	ctx, cancel := context.WithTimeoutCause(ctx, injectionTimeout, fmt.Errorf("it was not over after %s", injectionTimeout))
	defer cancel()
	s.dice, s.drawn, s.notes, s.healed = dice(s.options.Seed, i.fault.name, i.round), nil, nil, time.Time{}
	before, err := s.survey(ctx)
	if err != nil {
		return outcome{err: fmt.Errorf("before the fault: %w", err)}
	}
	s.tell("seed %d round %d: %s", s.options.Seed, i.round, i.fault.name)
	err = i.fault.inject(ctx, s)
	if ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err == nil {
		err = s.nothingLeft(ctx, before, i.fault.steady)
	}
	o = outcome{notes: s.notes, err: err}
	if s.works.After(s.healed) && !s.healed.IsZero() {
		o.recovery = s.works.Sub(s.healed)
	}
	return o
}

// tell writes a line to the log.
func (s *scene) tell(format string, args ...any) {
	fmt.Fprintf(s.options.Log, "%s %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

// machine says what the run is on.
func machine() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return "unknown"
	}
	return fmt.Sprintf("%d processors, Linux %s, %s", runtime.NumCPU(), unix.ByteSliceToString(name.Release[:]), runtime.GOARCH)
}

// surroundings are what a fault needs a lab to be like.
type surroundings int

const (
	// plain is as shipped, with dockerd's live-restore.
	plain surroundings = iota
	// impatient gives up a lost link after seconds.
	impatient
	// narrow has small file systems for what both sides keep.
	narrow
)

// patienceOf is the resume_timeout of a lab. The plain one's is longer than any cut, and short enough to see that
// what is kept for so long is given up then.
func patienceOf(in surroundings) time.Duration {
	if in == impatient {
		return impatience
	}
	return 80 * time.Second
}

const (
	impatience = 12 * time.Second
	// narrowBytes and narrowFiles are the size of each of a narrow lab's file systems.
	narrowBytes, narrowFiles = "64m", "4000"
)

// enter opens a lab with the surroundings, unless it is open.
func (s *scene) enter(ctx context.Context, in surroundings) (err error) {
	if s.Lab != nil && s.in == in {
		return nil
	}
	if err := s.leave(); err != nil {
		return err
	}
	options := lab.Options{
		Build: s.options.Build, Bare: true, Cable: true, CableSeed: s.options.Seed,
		HostConfig:  "\n[shim]\nrunc = \"" + runcPath + "\"\n\n[metrics]\nlisten = \"127.0.0.1:9120\"\n",
		DPUConfig:   "\n[metrics]\nlisten = \"127.0.0.1:9120\"\n",
		DockerdArgs: []string{"--live-restore"},
	}
	options.Link = fmt.Sprintf("resume_timeout = %q\n", patienceOf(in))
	if options.Build == "" {
		if options.Build, err = lab.FindBuild(); err != nil {
			return err
		}
	}
	options.LogDir = options.Build + "/log/faults"
	if s.Lab, err = lab.Open(ctx, options); err != nil {
		return err
	}
	s.in, s.first = in, map[string]int{}
	if err := s.prepare(ctx); err != nil {
		return errors.Join(fmt.Errorf("prepare the lab: %w", err), s.leave())
	}
	return nil
}

// prepare starts the system, and makes what is made with the first container and stays.
func (s *scene) prepare(ctx context.Context) error {
	if err := s.Host.WriteFile(runcPath, []byte(runcScript), 0o755); err != nil {
		return err
	}
	if s.in == narrow {
		small := "mount -t tmpfs -o mode=711,size=" + narrowBytes + ",nr_inodes=" + narrowFiles + " small "
		if _, err := s.on(ctx, s.Host, small+"/var/lib/offload"); err != nil {
			return err
		}
		for _, dir := range []string{"/var/lib/containerd", "/var/lib/docker"} {
			if _, err := s.on(ctx, s.DPU, small+dir); err != nil {
				return err
			}
		}
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	for _, argv := range [][]string{
		{"mkdir", "-p", dataDir},
		{"docker", "pull", "-q", s.Image("busybox")},
		{"ctr", "image", "pull", "--plain-http", s.Image("busybox")},
		{"docker", "run", "--rm", "-m", "64m", s.Image("busybox"), "true"},
		{"docker", "run", "--rm", "--network", "host", s.Image("busybox"), "true"},
		s.CtrRun("--rm", s.Image("busybox"), "warm", "true"),
	} {
		if _, err := s.dpu(ctx, argv...); err != nil {
			return err
		}
	}
	return nil
}

// leave closes the lab. The logs of its daemons stay until the next one is opened.
func (s *scene) leave() error {
	if s.Lab == nil {
		return nil
	}
	id := s.ID()
	err := s.Close()
	s.Lab = nil
	if err != nil {
		return err
	}
	traces, err := lab.Traces(id)
	if err == nil && len(traces) > 0 {
		err = fmt.Errorf("the lab left on the machine: %s", strings.Join(traces, ", "))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return err
}
