// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
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
	memory, err := memory(ctx, o)
	if err != nil {
		return report, err
	}
	report.Rows = append(times, memory...)
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
		var took [2][]float64
		for run := -2; run < o.Runs; run++ {
			for turn := range labs {
				which := (turn + run + 2) % 2
				start := time.Now()
				if _, err := labs[which].DPU.Command(ctx, c.argv(labs[which])...).Output(); err != nil {
					return nil, fmt.Errorf("%s: %w", labs[which].Kind, err)
				}
				if run >= 0 { // The first ones fill caches.
					took[which] = append(took[which], time.Since(start).Seconds())
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
	}
	return rows, nil
}

// memory measures what each system takes besides the containers, where these run. One lab is up at a time: programs
// that both run would share pages.
func memory(ctx context.Context, o Options) ([]bench.Row, error) {
	counts, goals := []int{0, 10}, []float64{0.1, 0.33}
	var sizes [2][]float64
	for i, kind := range []lab.Kind{o.Kind, lab.Stock} {
		o.say("memory of %s", kind)
		size, err := o.memoryOf(ctx, kind, counts)
		if err != nil {
			return nil, err
		}
		sizes[i] = size
	}
	var rows []bench.Row
	for i, count := range counts {
		rows = append(rows, bench.NewRow("HOST memory at "+strconv.Itoa(count)+" containers", peer, "B", sizes[0][i],
			sizes[1][i], goals[i], bench.Lower, 1))
	}
	return rows, nil
}

// memoryOf measures one system at each number of idle containers.
func (o Options) memoryOf(ctx context.Context, kind lab.Kind, counts []int) (sizes []float64, err error) {
	l, err := o.open(ctx, kind)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if _, err := l.DPU.Command(ctx, "docker", "rm", "-f", "bench").Output(); err != nil {
		return nil, err
	}
	running := 0
	for _, count := range counts {
		for ; running < count; running++ {
			argv := []string{"docker", "run", "-d", "--network", "none", l.Image("busybox"), "sleep", "100000"}
			if _, err := l.DPU.Command(ctx, argv...).Output(); err != nil {
				return nil, err
			}
		}
		size, err := settled(ctx, l.Host)
		if err != nil {
			return nil, err
		}
		sizes = append(sizes, size)
	}
	return sizes, nil
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
