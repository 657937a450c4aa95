// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/container-offload/offload/integration/bench"
)

// What a client asks the server to do.
const (
	echo = 'e' // send back what comes
	sink = 's' // take as many bytes as the next 8 say, then send one
)

// serve answers one client.
func serve(c net.Conn) {
	defer c.Close()
	var mode [1]byte
	if _, err := io.ReadFull(c, mode[:]); err != nil {
		return
	}
	if mode[0] == echo {
		buf := make([]byte, 1)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	}
	var size [8]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return
	}
	buf := make([]byte, 256<<10)
	for left := int64(binary.BigEndian.Uint64(size[:])); left > 0; {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		left -= int64(n)
	}
	_, _ = c.Write(mode[:])
}

// roundTrips returns the median of n round trips of one byte, in seconds.
func roundTrips(ctx context.Context, w way, n int) (float64, error) {
	c, err := w.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, err := c.Write([]byte{echo}); err != nil {
		return 0, err
	}
	var times []float64
	buf := make([]byte, 1)
	for range n {
		began := time.Now()
		if _, err := c.Write(buf); err != nil {
			return 0, err
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			return 0, err
		}
		times = append(times, time.Since(began).Seconds())
	}
	return bench.Quantile(times, 0.5), ctx.Err()
}

// connects returns the median of n connections that are opened, used for a round
// trip and closed, in seconds.
func connects(ctx context.Context, w way, n int) (float64, error) {
	var times []float64
	for range n {
		began := time.Now()
		if err := once(ctx, w); err != nil {
			return 0, err
		}
		times = append(times, time.Since(began).Seconds())
	}
	return bench.Quantile(times, 0.5), ctx.Err()
}

func once(ctx context.Context, w way) error {
	c, err := w.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte{echo, 1}); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 1))
	return err
}

// throughput returns how many bytes a second one connection takes.
func throughput(ctx context.Context, w way, size int64) (float64, error) {
	c, err := w.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	began := time.Now()
	if _, err := c.Write(binary.BigEndian.AppendUint64([]byte{sink}, uint64(size))); err != nil {
		return 0, err
	}
	buf := make([]byte, 256<<10)
	for left := size; left > 0; {
		n, err := c.Write(buf[:min(left, int64(len(buf)))])
		if err != nil {
			return 0, err
		}
		left -= int64(n)
	}
	if _, err := io.ReadFull(c, buf[:1]); err != nil {
		return 0, err
	}
	return float64(size) / time.Since(began).Seconds(), ctx.Err()
}

// idleConnections is how many connections are open while memory is looked at.
const idleConnections = 10_000

// idleGoal is how much user memory an idle connection may take on each side, in
// bytes.
const idleGoal = 4 << 10

// memory opens many connections, uses each once, and looks at what they take.
func (l *lab) memory(ctx context.Context) ([]bench.Row, error) {
	w := l.find(ourName, false)
	before := [2]int64{}
	for i, p := range l.bridges {
		before[i] = userMemory(p.Process.Pid)
	}
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range idleConnections {
		c, err := w.dial(ctx)
		if err != nil {
			return nil, fmt.Errorf("open connection %d: %w", len(conns), err)
		}
		conns = append(conns, c)
		if _, err := c.Write([]byte{echo, 1}); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			return nil, err
		}
	}
	// What the garbage collector has not taken yet is no memory of connections.
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var rows []bench.Row
	for i, side := range []string{"serving", "connecting"} {
		grown := userMemory(l.bridges[i].Process.Pid) - before[i]
		if before[i] == 0 {
			return nil, errors.New("the bridge has ended")
		}
		rows = append(rows, bench.NewRow("memory of an idle connection, "+side+" side", "4 KiB", "B",
			float64(grown)/idleConnections, idleGoal, 1, bench.Lower, idleConnections))
	}
	return rows, nil
}

// settle is how long the bridges get to give freed memory back.
const settle = 5 * time.Second
