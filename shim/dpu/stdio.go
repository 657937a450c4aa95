// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/fifo"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/shim/wire"
)

// drainTimeout bounds how long Delete waits for a reader that does not take
// what a process has written.
const drainTimeout = 10 * time.Second

// stream is one direction-agnostic stream of the link.
type stream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// processIO joins the FIFOs that containerd made for a process with streams to
// the HOST half.
type processIO struct {
	stdin, stdout, stderr string
	terminal              bool

	cancel   context.CancelFunc
	outputs  sync.WaitGroup
	moved    atomic.Int64  // bytes of output delivered
	writing  atomic.Int32  // outputs whose reader is being waited for
	finished chan struct{} // closed when all output has been delivered

	mu     sync.Mutex
	hold   io.Closer // keeps stdin open until CloseIO
	closes []io.Closer
}

// openStdio opens a stream per standard stream that containerd asked for and
// starts to copy. open must not wait for the peer.
func openStdio(p *processIO, id, execID string, open func(wire.StdioHeader) (stream, error)) (err error) {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.finished = cancel, make(chan struct{})
	defer func() {
		if err != nil {
			p.abort()
		}
		go func() { p.outputs.Wait(); close(p.finished) }()
	}()
	for _, o := range []struct {
		name wire.Stdio
		path string
	}{{wire.Stdin, p.stdin}, {wire.Stdout, p.stdout}, {wire.Stderr, p.stderr}} {
		if o.path == "" {
			continue
		}
		st, err := open(wire.StdioHeader{ID: id, ExecID: execID, Stream: o.name})
		if err != nil {
			return fmt.Errorf("open %s stream: %w", o.name, err)
		}
		p.closes = append(p.closes, st)
		if o.name == wire.Stdin {
			err = p.copyIn(o.path, st)
		} else {
			err = p.copyOut(ctx, o.path, st)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyIn sends what is written into the FIFO at path. The FIFO ends when its
// last writer does, this process's hold included.
func (p *processIO) copyIn(path string, st stream) error {
	r, hold, err := openInputFIFO(path)
	if err != nil {
		return fmt.Errorf("open stdin: %w", err)
	}
	p.closes = append(p.closes, r)
	p.hold = hold
	go func() {
		_, _ = io.Copy(st, r) // a reader that is gone ends the copy, as it ends a pipe
		_ = st.CloseWrite()
	}()
	return nil
}

// copyOut delivers what a process writes to path: a FIFO, or a file if path is
// a file: URI.
func (p *processIO) copyOut(ctx context.Context, path string, st stream) error {
	open, err := opener(ctx, path)
	if err != nil {
		return err
	}
	p.outputs.Add(1)
	go func() {
		defer p.outputs.Done()
		// Opening a FIFO waits for its reader. Nothing is lost meanwhile: the
		// stream's window holds the process back.
		w, err := open()
		if err == nil {
			_, err = io.Copy(&counter{w, p}, st)
			w.Close()
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			// No reader: what the process still writes goes nowhere, as into
			// a pipe nobody holds, but the process isn't kept waiting.
			_, _ = io.Copy(io.Discard, st)
		}
		st.Close()
	}()
	return nil
}

// openInputFIFO opens path for reading, and for writing too, so that a client that
// closes it does not end it. Both are open on return: a reader without the hold
// would take a client that comes and goes at once for the end.
func openInputFIFO(path string) (r, hold *os.File, err error) {
	// Opened for both, a FIFO waits for nobody (fifo(7)), nor does then one end alone.
	both, err := os.OpenFile(path, unix.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer both.Close()
	if r, err = os.OpenFile(path, unix.O_RDONLY|unix.O_NONBLOCK, 0); err != nil {
		return nil, nil, err
	}
	if hold, err = os.OpenFile(path, unix.O_WRONLY|unix.O_NONBLOCK, 0); err != nil {
		return nil, nil, errors.Join(err, r.Close())
	}
	return r, hold, nil
}

func opener(ctx context.Context, path string) (func() (io.WriteCloser, error), error) {
	u, err := url.Parse(path)
	if err != nil {
		return nil, fmt.Errorf("parse output %q: %w", path, err)
	}
	switch u.Scheme {
	case "", "fifo":
		return func() (io.WriteCloser, error) { return openOutputFIFO(ctx, u.Path) }, nil
	case "file":
		return func() (io.WriteCloser, error) {
			return os.OpenFile(u.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		}, nil
	}
	return nil, fmt.Errorf("output %q: scheme %q: %w", path, u.Scheme, errdefs.ErrNotImplemented)
}

// openOutputFIFO opens path for writing once it has a reader. It holds a
// reading end as well, so that a client which goes away and comes back finds
// the process alive.
func openOutputFIFO(ctx context.Context, path string) (io.WriteCloser, error) {
	w, err := fifo.OpenFifo(ctx, path, unix.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open output: %w", err)
	}
	r, err := fifo.OpenFifo(ctx, path, unix.O_RDONLY, 0)
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("open output: %w", err)
	}
	return &heldFIFO{WriteCloser: w, hold: r}, nil
}

type heldFIFO struct {
	io.WriteCloser
	hold io.Closer
}

func (f *heldFIFO) Close() error { return errors.Join(f.WriteCloser.Close(), f.hold.Close()) }

// closeStdin gives up this process's hold on the standard input.
func (p *processIO) closeStdin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hold != nil {
		p.hold.Close()
		p.hold = nil
	}
}

// counter notes what of a process's output is being written and has been.
type counter struct {
	io.Writer
	p *processIO
}

func (c *counter) Write(b []byte) (int, error) {
	c.p.writing.Add(1)
	defer c.p.writing.Add(-1)
	n, err := c.Writer.Write(b)
	c.p.moved.Add(int64(n))
	return n, err
}

// drain waits until all output has been delivered, for a bounded time, and then
// releases everything.
func (p *processIO) drain(ctx context.Context) {
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	select {
	case <-p.finished:
	case <-timer.C:
	case <-ctx.Done():
	}
	p.abort()
}

// abort releases everything at once.
func (p *processIO) abort() {
	if p.cancel != nil {
		p.cancel()
	}
	p.closeStdin()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.closes {
		c.Close()
	}
	p.closes = nil
}
