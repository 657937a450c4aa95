// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/container-offload/offload/integration/bench"
	"github.com/container-offload/offload/integration/lab"
)

// Options say what to measure.
type Options struct {
	// Build is the build directory.
	Build string
	// Runs is how often each command is timed on each side; zero means 50.
	Runs int
	// Kind is what is measured against stock. It defaults to the offload system; stock shows how alike two equal
	// labs come out.
	Kind lab.Kind
	// Progress is told what is going on.
	Progress io.Writer
}

const peer = "stock local"

// Run measures everything. The machine should be idle.
func Run(ctx context.Context, o Options) (bench.Report, error) {
	if o.Runs == 0 {
		o.Runs = 50
	}
	if o.Kind == "" {
		o.Kind = lab.Offload
	}
	report := bench.Report{Machine: bench.Machine(runtime.NumCPU())}
	times, err := times(ctx, o)
	if err != nil {
		return report, err
	}
	loads, err := loads(ctx, o)
	if err != nil {
		return report, err
	}
	report.Rows = append(times, loads...)
	return report, nil
}

// open puts a lab up and brings everything there that is needed once.
func (o Options) open(ctx context.Context, kind lab.Kind) (*lab.Lab, error) {
	l, err := lab.Open(ctx, lab.Options{Kind: kind, Build: o.Build})
	if err != nil {
		return nil, err
	}
	image := l.Image("busybox")
	for _, argv := range [][]string{
		{"docker", "pull", "-q", image}, {"ctr", "image", "pull", "--plain-http", image},
		{"docker", "run", "-d", "--name", "bench", "--network", "none", image, "sleep", "100000"},
	} {
		if _, err := l.DPU.Command(ctx, argv...).Output(); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// times interleaves the two systems, run by run, so that whatever else the machine does meets both.
func times(ctx context.Context, o Options) (rows []bench.Row, err error) {
	var labs [2]*lab.Lab
	for i, kind := range []lab.Kind{o.Kind, lab.Stock} {
		l, err := o.open(ctx, kind)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, l.Close()) }()
		labs[i] = l
	}
	image := labs[0].Image("busybox")
	for _, c := range []struct {
		name string
		argv func(*lab.Lab) []string
	}{
		{"ctr run --rm", func(l *lab.Lab) []string { return l.CtrRun("--rm", image, "timed", "true") }},
		{"docker run --rm", func(*lab.Lab) []string {
			return []string{"docker", "run", "--rm", "--network", "none", image, "true"}
		}},
		{"docker exec", func(*lab.Lab) []string { return []string{"docker", "exec", "bench", "true"} }},
	} {
		o.say("%s, %d times each", c.name, o.Runs)
		var took, worked [2][]float64
		for run := -2; run < o.Runs; run++ {
			for turn := range labs {
				which := (turn + run + 2) % 2
				wall, work, err := timed(ctx, labs[which], c.argv(labs[which]))
				if err != nil {
					return nil, err
				}
				if run >= 0 { // The first ones fill caches.
					took[which], worked[which] = append(took[which], wall), append(worked[which], work)
				}
			}
		}
		for _, p := range []struct {
			name string
			q    float64
			goal float64
		}{{"p50", 0.5, 1}, {"p99", 0.99, 1.2}} {
			rows = append(rows, bench.NewRow(c.name+" "+p.name, peer, "s", bench.Quantile(took[0], p.q),
				bench.Quantile(took[1], p.q), p.goal, bench.Lower, o.Runs))
		}
		rows = append(rows, bench.NewRow(c.name+", the HOST's processors", peer, "s", bench.Quantile(worked[0], 0.5),
			bench.Quantile(worked[1], 0.5), 0.33, bench.Lower, o.Runs))
	}
	return rows, nil
}

// timed runs a command on the DPU and returns how long it took and how long the HOST's processors worked meanwhile, in
// seconds. What the HOST does for it afterwards is the next command's.
func timed(ctx context.Context, l *lab.Lab, argv []string) (wall, work float64, err error) {
	before, err := l.Host.ProcessorTime()
	if err != nil {
		return 0, 0, err
	}
	start := time.Now()
	if _, err := l.DPU.Command(ctx, argv...).Output(); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", l.Kind, err)
	}
	wall = time.Since(start).Seconds()
	after, err := l.Host.ProcessorTime()
	return wall, (after - before).Seconds(), err
}

// counts are the numbers of idle containers beside which things are measured.
var counts = []struct {
	containers int
	memoryGoal float64
}{{0, 0.1}, {10, 0.33}, {100, 0.33}}

// load is what a system takes beside some number of idle containers.
type load struct {
	host, dpu float64 // memory besides the containers, in bytes
	run       float64 // one more docker run --rm, in seconds
}

// loads measures what each system takes besides the containers, and how long one more takes. One lab is up at a time:
// programs that both run would share pages.
func loads(ctx context.Context, o Options) ([]bench.Row, error) {
	var found [2][]load
	for i, kind := range []lab.Kind{o.Kind, lab.Stock} {
		o.say("%s beside idle containers", kind)
		l, err := o.loadsOf(ctx, kind)
		if err != nil {
			return nil, err
		}
		found[i] = l
	}
	var rows []bench.Row
	for i, c := range counts {
		ours, stock, beside := found[0][i], found[1][i], fmt.Sprintf(" at %d containers", c.containers)
		rows = append(rows,
			bench.NewRow("HOST memory"+beside, peer, "B", ours.host, stock.host, c.memoryGoal, bench.Lower, 1),
			bench.NewRow("DPU memory"+beside, peer, "B", ours.dpu, stock.dpu, 1.3, bench.Lower, 1))
		if i > 0 {
			rows = append(rows, bench.NewRow("docker run --rm"+beside, "itself at none", "s", ours.run, found[0][0].run, 1.1, bench.Lower, runsBeside))
		}
	}
	return rows, nil
}

// runsBeside is how often docker run is timed beside idle containers.
const runsBeside = 11

// loadsOf measures one system at each number of idle containers.
func (o Options) loadsOf(ctx context.Context, kind lab.Kind) (found []load, err error) {
	l, err := o.open(ctx, kind)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if _, err := l.DPU.Command(ctx, "docker", "rm", "-f", "bench").Output(); err != nil {
		return nil, err
	}
	docker := func(args ...string) []string {
		return append([]string{"docker", "run", "--network", "none"}, append(args[:1:1], append([]string{l.Image("busybox")}, args[1:]...)...)...)
	}
	running := 0
	for _, c := range counts {
		for ; running < c.containers; running++ {
			if _, err := l.DPU.Command(ctx, docker("-d", "sleep", "100000")...).Output(); err != nil {
				return nil, err
			}
		}
		var at load
		if at.host, err = settled(ctx, l.Host); err != nil {
			return nil, err
		}
		if at.dpu, err = settled(ctx, l.DPU); err != nil {
			return nil, err
		}
		var took []float64
		for range runsBeside {
			wall, _, err := timed(ctx, l, docker("--rm", "true"))
			if err != nil {
				return nil, err
			}
			took = append(took, wall)
		}
		at.run = bench.Quantile(took, 0.5)
		found = append(found, at)
	}
	return found, nil
}

// settled is the memory once it no longer changes much: what was just started is still at work.
func settled(ctx context.Context, env *lab.Env) (float64, error) {
	last := 0.0
	for range 20 {
		size, err := env.OverheadMemory()
		if err != nil {
			return 0, err
		}
		if now := float64(size); last > 0 && now > 0.99*last && now < 1.01*last {
			return now, nil
		}
		last = float64(size)
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
	return last, nil
}

func (o Options) say(format string, args ...any) {
	if o.Progress != nil {
		fmt.Fprintf(o.Progress, format+"\n", args...)
	}
}
