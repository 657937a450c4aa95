// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/container-offload/offload/integration/bench"
	"github.com/container-offload/offload/udsbridge/pki"
	"github.com/container-offload/offload/udsbridge/session"
)

// Goals.
const (
	goalTrip    = 1.5
	goalSpeed   = 0.9
	goalStream  = 4 << 10  // bytes
	goalSession = 32 << 10 // bytes
)

type options struct {
	runs, trips, bytes int
}

// piece is how much is written or read at once.
const piece = 128 << 10

// measure returns all rows.
func measure(ctx context.Context, o options) (rows []bench.Row, err error) {
	dir, err := os.MkdirTemp("", "bench-link-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := pki.Init(dir, pki.Options{}); err != nil {
		return nil, err
	}
	for _, k := range []struct{ name, dir string }{{"TCP", ""}, {"TLS", dir}} {
		more, err := with(k.dir, func(f *far, s security) ([]bench.Row, error) { return compare(ctx, o, k.name, f, s) })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
		rows = append(rows, more...)
	}
	more, err := with("", func(f *far, s security) ([]bench.Row, error) { return memory(ctx, f, s) })
	return append(rows, more...), err
}

// with calls what measures with a far end.
func with(dir string, measure func(*far, security) ([]bench.Row, error)) ([]bench.Row, error) {
	s, err := protection(dir)
	if err != nil {
		return nil, err
	}
	f, err := startFar(dir)
	if err != nil {
		return nil, err
	}
	rows, err := measure(f, s)
	return rows, errors.Join(err, f.end())
}

// compare measures a stream and the connection below it in turns.
func compare(ctx context.Context, o options, name string, f *far, s security) ([]bench.Row, error) {
	sess, err := dialSession(ctx, f, s)
	if err != nil {
		return nil, err
	}
	stream, err := sess.Open(ctx, service, nil)
	if err != nil {
		return nil, err
	}
	bare, err := dialBare(f, s)
	if err != nil {
		return nil, err
	}
	var trips, speeds [2][]float64
	for run := range o.runs + 1 {
		for i, c := range []net.Conn{stream, bare} {
			trip, err := roundTrip(c, o.trips)
			if err != nil {
				return nil, err
			}
			speed, err := throughput(c, o.bytes)
			if err != nil {
				return nil, err
			}
			if run > 0 { // the first one warms up
				trips[i], speeds[i] = append(trips[i], trip), append(speeds[i], speed)
			}
		}
	}
	stream.Close()
	bare.Close()
	if err := sess.Close(); err != nil {
		return nil, err
	}
	peer := "bare " + name
	median := func(v []float64) float64 { return bench.Quantile(v, 0.5) }
	return []bench.Row{
		bench.NewRow("round trip of 1 byte, "+name, peer, "s", median(trips[0]), median(trips[1]), goalTrip, bench.Lower, o.runs),
		bench.NewRow("throughput of 1 stream, "+name, peer, "B/s", median(speeds[0]), median(speeds[1]), goalSpeed, bench.Higher, o.runs),
	}, nil
}

// roundTrip returns the time of one, in seconds.
func roundTrip(c net.Conn, n int) (float64, error) {
	if err := order(c, orderEcho, n); err != nil {
		return 0, err
	}
	b := make([]byte, 1)
	start := time.Now()
	for range n {
		if _, err := c.Write(b); err != nil {
			return 0, err
		}
		if _, err := io.ReadFull(c, b); err != nil {
			return 0, err
		}
	}
	return time.Since(start).Seconds() / float64(n), nil
}

// throughput returns bytes per second.
func throughput(c net.Conn, n int) (float64, error) {
	b := make([]byte, piece)
	start := time.Now()
	if err := order(c, orderSink, n); err != nil {
		return 0, err
	}
	for sent := 0; sent < n; sent += len(b) {
		if _, err := c.Write(b[:min(len(b), n-sent)]); err != nil {
			return 0, err
		}
	}
	if _, err := io.ReadFull(c, b[:1]); err != nil {
		return 0, err
	}
	return float64(n) / time.Since(start).Seconds(), nil
}

// memory measures what is open and idle at the near end.
func memory(ctx context.Context, f *far, s security) ([]bench.Row, error) {
	const many, few = 2000, 100
	sess, err := dialSession(ctx, f, s)
	if err != nil {
		return nil, err
	}
	before := inUse()
	streams := make([]*session.Stream, 0, many)
	for range many {
		st, err := sess.Open(ctx, service, nil)
		if err != nil {
			return nil, err
		}
		if _, err := roundTrip(st, 1); err != nil {
			return nil, err
		}
		streams = append(streams, st)
	}
	perStream := (inUse() - before) / many
	for _, st := range streams {
		st.Close()
	}
	before = inUse()
	open := make([]*session.Session, 0, few)
	for range few {
		more, err := dialSession(ctx, f, s)
		if err != nil {
			return nil, err
		}
		open = append(open, more)
	}
	perSession := (inUse() - before) / few
	for _, more := range append(open, sess) {
		if err := more.Close(); err != nil {
			return nil, err
		}
	}
	return []bench.Row{
		bench.NewRow("memory of an open idle stream", "the bound", "B", perStream, goalStream, 1, bench.Lower, many),
		bench.NewRow("memory of an idle session", "the bound", "B", perSession, goalSession, 1, bench.Lower, few),
	}, nil
}

// inUse is the memory that Go's heap and stacks use, in bytes.
func inUse() float64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse + m.StackInuse)
}
