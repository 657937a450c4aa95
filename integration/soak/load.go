// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"
)

const (
	// piece is the most that is written at once, in bytes.
	piece = 128 << 10
	// rest is the pause between writes: the link is to be used, not the processors.
	rest = 5 * time.Millisecond
)

// flow is one direction of a connection.
type flow struct {
	name           string
	sent, received atomic.Int64
	err            chan error // of the two that use it, one each
}

// load is connections that carry random bytes both ways.
type load struct {
	l      net.Listener
	flows  []*flow
	conns  []net.Conn
	ending chan struct{}
}

// startLoad serves the socket there and opens connections to the socket here.
func startLoad(ctx context.Context, there, here string, streams int) (_ *load, err error) {
	ld := &load{ending: make(chan struct{})}
	if ld.l, err = net.Listen("unix", there); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			ld.close()
		}
	}()
	for i := range streams {
		client, server, err := ld.connect(ctx, here)
		if err != nil {
			return nil, err
		}
		ld.conns = append(ld.conns, client, server)
		ld.flow(fmt.Sprintf("connection %d, there", i), client, server, uint64(2*i))
		ld.flow(fmt.Sprintf("connection %d, back", i), server, client, uint64(2*i+1))
	}
	return ld, nil
}

// connect returns both ends of a connection.
func (ld *load) connect(ctx context.Context, here string) (client, server net.Conn, err error) {
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := ld.l.Accept()
		if err == nil {
			accepted <- c
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		var d net.Dialer
		if client, err = d.DialContext(ctx, "unix", here); err == nil {
			break
		}
		// The mirror of the socket comes a moment after it.
		if pause(ctx, 20*time.Millisecond) != nil {
			return nil, nil, fmt.Errorf("connect to %s: %w", here, err)
		}
	}
	select {
	case server = <-accepted:
		return client, server, nil
	case <-ctx.Done():
		client.Close()
		return nil, nil, fmt.Errorf("await the connection to %s: %w", here, ctx.Err())
	}
}

// flow sends random bytes one way, and looks at what arrives.
func (ld *load) flow(name string, from, to net.Conn, seed uint64) {
	f := &flow{name: name, err: make(chan error, 2)}
	ld.flows = append(ld.flows, f)
	go func() { f.err <- f.send(from, random(seed), ld.ending) }()
	go func() { f.err <- f.check(to, random(seed)) }()
}

// random returns the same bytes for the same seed.
func random(seed uint64) *rand.ChaCha8 {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

func (f *flow) send(to net.Conn, bytes *rand.ChaCha8, ending <-chan struct{}) error {
	buf := make([]byte, piece)
	for {
		select {
		case <-ending:
			return to.(*net.UnixConn).CloseWrite()
		case <-time.After(rest):
		}
		b := buf[:1+rand.IntN(piece)]
		_, _ = bytes.Read(b) // it never fails
		n, err := to.Write(b)
		f.sent.Add(int64(n))
		if err != nil {
			return err
		}
	}
}

func (f *flow) check(from net.Conn, want *rand.ChaCha8) error {
	got, expected := make([]byte, piece), make([]byte, piece)
	for {
		n, err := from.Read(got)
		_, _ = want.Read(expected[:n])
		if !bytes.Equal(got[:n], expected[:n]) {
			return fmt.Errorf("what arrives after %d bytes is not what was sent", f.received.Load())
		}
		f.received.Add(int64(n))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// arrived is how many bytes have arrived, all in all.
func (ld *load) arrived() int64 {
	var n int64
	for _, f := range ld.flows {
		n += f.received.Load()
	}
	return n
}

// awaitProgress waits until something more has arrived on every connection, both
// ways.
func (ld *load) awaitProgress(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, f := range ld.flows {
		before := f.received.Load()
		for f.received.Load() == before {
			select {
			case err := <-f.err:
				return fmt.Errorf("%s: ended after %d bytes: %w", f.name, f.received.Load(), err)
			case <-ctx.Done():
				return fmt.Errorf("%s: nothing arrives: %w", f.name, ctx.Err())
			case <-time.After(time.Millisecond):
			}
		}
	}
	return nil
}

// finish ends every direction and holds that all of it has arrived.
func (ld *load) finish(patience time.Duration) error {
	close(ld.ending)
	expired := time.After(patience)
	for _, f := range ld.flows {
		for range 2 {
			select {
			case err := <-f.err:
				if err != nil {
					return fmt.Errorf("%s: %w", f.name, err)
				}
			case <-expired:
				return fmt.Errorf("%s: does not end", f.name)
			}
		}
		if sent, received := f.sent.Load(), f.received.Load(); sent != received {
			return fmt.Errorf("%s: %d bytes were sent and %d arrived", f.name, sent, received)
		}
	}
	return nil
}

func (ld *load) close() {
	ld.l.Close()
	for _, c := range ld.conns {
		c.Close()
	}
}
