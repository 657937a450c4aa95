// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bridge measures the socket bridge against what one would use instead: a
// plain unix socket and raw TCP as bounds, socat and ssh -L as peers. All run on this
// machine, over loopback, and once more over a link with a delay, which is a relay of
// this program's. Measurements are interleaved; figures are medians.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/integration/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	o := options{}
	flag.StringVar(&o.binary, "udsbridge", "build/bin/udsbridge", "the program to measure")
	flag.StringVar(&o.out, "out", "build/bench/bridge.json", "where to write the report")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each thing is measured")
	flag.IntVar(&o.trips, "trips", 1000, "round trips in one measurement")
	flag.Int64Var(&o.bytes, "bytes", 256<<20, "bytes in one measurement of throughput")
	flag.DurationVar(&o.delay, "delay", 250*time.Microsecond, "one way delay of the slower link")
	server := flag.String("serve", "", "only serve on this unix socket, for another run of this program")
	flag.Parse()
	if *server != "" {
		if err := serveAlone(ctx, *server); err != nil {
			fmt.Fprintln(os.Stderr, "bench-bridge:", err)
			os.Exit(1)
		}
		return
	}
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench-bridge:", err)
		os.Exit(1)
	}
}

type options struct {
	binary, out   string
	rounds, trips int
	bytes         int64
	delay         time.Duration
}

func (o options) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "bb")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := newLab(ctx, dir, o)
	if err != nil {
		return err
	}
	defer l.close()
	report := bench.Report{Machine: bench.Machine(runtime.NumCPU())}
	for _, m := range o.measures() {
		began := time.Now()
		values := make(map[string][]float64)
		for range o.rounds {
			for _, w := range l.ways {
				if m.slow != w.slow {
					continue
				}
				v, err := m.run(ctx, w)
				if err != nil {
					return fmt.Errorf("%s by %s: %w", m.name, w.name, err)
				}
				values[w.name] = append(values[w.name], v)
			}
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", m.name, time.Since(began).Round(time.Millisecond))
		ours := bench.Quantile(values[ourName], 0.5)
		for _, w := range l.ways {
			if w.name == ourName || w.slow != m.slow {
				continue
			}
			goal, ok := m.goals[w.name]
			if !ok {
				goal = 1
			}
			report.Rows = append(report.Rows, bench.NewRow(m.name, w.name, m.unit, ours, bench.Quantile(values[w.name], 0.5), goal, m.better, o.rounds))
		}
	}
	rows, err := l.memory(ctx)
	if err != nil {
		return err
	}
	report.Rows = append(report.Rows, rows...)
	return report.Present(o.out)
}

// Names of ways to the server.
const (
	ourName   = "udsbridge"
	unixName  = "unix socket"
	tcpName   = "raw tcp"
	socatName = "socat"
	sshName   = "ssh -L"
)

// measure is one thing to measure.
type measure struct {
	name, unit, better string
	slow               bool // over the link with a delay
	goals              map[string]float64
	run                func(context.Context, way) (float64, error)
}

func (o options) measures() []measure {
	trip := func(ctx context.Context, w way) (float64, error) { return roundTrips(ctx, w, o.trips) }
	slowTrip := func(ctx context.Context, w way) (float64, error) { return roundTrips(ctx, w, o.trips/4) }
	bulk := func(ctx context.Context, w way) (float64, error) { return throughput(ctx, w, o.bytes) }
	open := func(ctx context.Context, w way) (float64, error) { return connects(ctx, w, o.trips/20) }
	link := fmt.Sprintf(", link of %s", 2*o.delay)
	// A plain unix socket and, on loopback, raw TCP have one hop where a bridge has
	// three: they are bounds, shown for what the hops cost.
	return []measure{
		{"round trip, 1 byte", "s", bench.Lower, false, map[string]float64{unixName: 4, tcpName: 4}, trip},
		{"round trip, 1 byte" + link, "s", bench.Lower, true, map[string]float64{tcpName: 1.5}, slowTrip},
		{"connect and round trip", "s", bench.Lower, false, map[string]float64{unixName: 4, tcpName: 4}, open},
		{"connect and round trip" + link, "s", bench.Lower, true, map[string]float64{tcpName: 1.5}, open},
		{"throughput", "B/s", bench.Higher, false, map[string]float64{tcpName: 0.9, unixName: 0.5}, bulk},
		{"throughput" + link, "B/s", bench.Higher, true, map[string]float64{tcpName: 0.9}, bulk},
	}
}
