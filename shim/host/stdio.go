// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/shim/wire"
)

const (
	// streamTimeout bounds how long a process waits for its streams, which
	// were opened before the request that names them.
	streamTimeout = 10 * time.Second
	// maxWaiting bounds the streams that wait for a process.
	maxWaiting = 64
	// pipeSize is the capacity asked for a pipe, in bytes: large enough that
	// a process and the link seldom wait for each other.
	pipeSize = 256 << 10
)

// stream is one stream of the link.
type stream interface {
	net.Conn
	CloseWrite() error
}

// stdioTable joins the streams that the DPU opens with the processes they are
// for. Either may come first.
type stdioTable struct {
	mu      sync.Mutex
	waiting map[wire.StdioHeader]stream
	arrived chan struct{} // closed and replaced when a stream comes
	procs   map[procKey]*processIO
}

type procKey struct{ id, execID string }

func newStdioTable() *stdioTable {
	return &stdioTable{
		waiting: map[wire.StdioHeader]stream{},
		arrived: make(chan struct{}),
		procs:   map[procKey]*processIO{},
	}
}

// put adds a stream. It fails if the process has it already.
func (t *stdioTable) put(h wire.StdioHeader, st stream) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.waiting[h]; ok {
		return fmt.Errorf("%s of process %q of task %q: %w", h.Stream, h.ExecID, h.ID, errdefs.ErrAlreadyExists)
	}
	if len(t.waiting) >= maxWaiting {
		return fmt.Errorf("%d streams wait for a process: %w", len(t.waiting), errdefs.ErrResourceExhausted)
	}
	t.waiting[h] = st
	close(t.arrived)
	t.arrived = make(chan struct{})
	return nil
}

// take returns the pipes of a process once the wanted streams are there.
func (t *stdioTable) take(ctx context.Context, id, execID string, stdin, stdout, stderr bool) (_ *processIO, err error) {
	ctx, cancel := context.WithTimeout(ctx, streamTimeout)
	defer cancel()
	p := &processIO{}
	defer func() {
		if err != nil {
			p.finish()
		}
	}()
	for _, w := range []struct {
		name   wire.Stdio
		wanted bool
		to     **pipe
	}{{wire.Stdin, stdin, &p.stdin}, {wire.Stdout, stdout, &p.stdout}, {wire.Stderr, stderr, &p.stderr}} {
		if !w.wanted {
			continue
		}
		st, err := t.await(ctx, wire.StdioHeader{ID: id, ExecID: execID, Stream: w.name})
		if err != nil {
			return nil, err
		}
		if *w.to, err = newPipe(st, w.name == wire.Stdin); err != nil {
			st.Close()
			return nil, err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	key := procKey{id, execID}
	if _, ok := t.procs[key]; ok {
		return nil, fmt.Errorf("process %q of task %q: %w", execID, id, errdefs.ErrAlreadyExists)
	}
	t.procs[key] = p
	return p, nil
}

func (t *stdioTable) await(ctx context.Context, h wire.StdioHeader) (stream, error) {
	for {
		t.mu.Lock()
		st, ok := t.waiting[h]
		delete(t.waiting, h)
		arrived := t.arrived
		t.mu.Unlock()
		if ok {
			return st, nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %s of process %q of task %q: %w", h.Stream, h.ExecID, h.ID, ctx.Err())
		}
	}
}

func (t *stdioTable) get(id, execID string) *processIO {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.procs[procKey{id, execID}]
}

// drop releases a process that was never started.
func (t *stdioTable) drop(id, execID string) { t.finish(id, execID) }

// finish releases a process that has ended. What it wrote is still delivered.
func (t *stdioTable) finish(id, execID string) {
	t.mu.Lock()
	p := t.procs[procKey{id, execID}]
	delete(t.procs, procKey{id, execID})
	t.mu.Unlock()
	if p != nil {
		p.finish()
	}
}

// processIO is the pipes of one process.
type processIO struct {
	stdin, stdout, stderr *pipe
	once                  sync.Once

	mu       sync.Mutex // held while closeStdin runs
	finished bool
}

// started begins to copy: runc has opened the pipes by path. closeStdin is
// called when the DPU's end of the standard input has ended, unless the process
// has been deleted: its id may be another's by then.
func (p *processIO) started(closeStdin func()) {
	p.once.Do(func() {
		for _, o := range []*pipe{p.stdout, p.stderr} {
			if o != nil {
				// The process is the only writer from now on, so its end is
				// the pipe's end.
				o.theirs.Close()
				go o.copyOut()
			}
		}
		if p.stdin != nil {
			// The task service opens its end by path in the background, at a
			// time that nobody is told: the path must stay what it is, and the
			// pipe must have a reader until then. Nothing waits for a reader
			// to go away, so it stays until the process has been deleted.
			go func() {
				p.stdin.copyIn()
				p.mu.Lock()
				defer p.mu.Unlock()
				if !p.finished {
					closeStdin()
				}
			}()
		}
	})
}

func (p *processIO) finish() {
	p.mu.Lock()
	p.finished = true
	p.mu.Unlock()
	p.once.Do(func() {
		for _, o := range []*pipe{p.stdout, p.stderr} {
			if o != nil {
				o.close()
			}
		}
	})
	if p.stdin != nil {
		p.stdin.close()
	}
}

// pipe joins a stream to a pipe whose other end a process is given by path.
type pipe struct {
	stream stream
	ours   *os.File
	theirs *os.File
}

func newPipe(st stream, in bool) (*pipe, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	if raw, err := w.SyscallConn(); err == nil {
		// A smaller pipe is slower, no more.
		_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
	if in {
		return &pipe{stream: st, ours: w, theirs: r}, nil
	}
	return &pipe{stream: st, ours: r, theirs: w}, nil
}

// path names the process's end for the runc task service, which opens it anew
// as it would a FIFO. It is empty for no pipe.
func (p *pipe) path() string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("/proc/self/fd/%d", p.theirs.Fd())
}

// copyOut delivers what the process writes and then the end of it.
func (p *pipe) copyOut() {
	_, err := io.Copy(p.stream, p.ours)
	if err != nil {
		// Nobody is left at the other end. The process must not be held up.
		_, _ = io.Copy(io.Discard, p.ours)
	}
	_ = p.stream.CloseWrite()
	p.close()
}

// copyIn delivers what the DPU sends until either end goes away.
func (p *pipe) copyIn() {
	_, _ = io.Copy(p.ours, p.stream)
	p.ours.Close()
}

func (p *pipe) close() {
	p.theirs.Close()
	p.ours.Close()
	p.stream.Close()
}
