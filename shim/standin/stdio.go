// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package standin

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// stdio are the FIFOs between this process's standard files and the task's.
type stdio struct {
	dir                   string
	stdin, stdout, stderr string
	terminal              bool
	restore               func()
	outputs               sync.WaitGroup
}

// newStdio makes the FIFOs in a directory of their own below dir. With a
// terminal, this process's must be one: it becomes raw, and the task's output
// is one stream.
func newStdio(dir string, terminal bool) (_ *stdio, err error) {
	s := &stdio{terminal: terminal, restore: func() {}}
	if s.dir, err = os.MkdirTemp(dir, "io-"); err != nil {
		return nil, fmt.Errorf("make standard streams: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(s.dir)
		}
	}()
	paths := map[string]*string{"stdin": &s.stdin, "stdout": &s.stdout}
	if !terminal {
		paths["stderr"] = &s.stderr
	}
	for name, path := range paths {
		*path = filepath.Join(s.dir, name)
		if err := unix.Mkfifo(*path, 0o600); err != nil {
			return nil, fmt.Errorf("make standard streams: %s: %w", name, err)
		}
	}
	if terminal {
		if s.restore, err = makeRaw(os.Stdin); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// start copies the outputs until the task's ends of the outputs are closed.
func (s *stdio) start() error {
	for path, to := range map[string]*os.File{s.stdout: os.Stdout, s.stderr: os.Stderr} {
		if path == "" {
			continue
		}
		// Read and write, so that opening waits for nobody; the write end is
		// given up by reopening below.
		hold, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("open standard stream: %w", err)
		}
		r, err := os.OpenFile(path, os.O_RDONLY, 0)
		if err != nil {
			hold.Close()
			return fmt.Errorf("open standard stream: %w", err)
		}
		s.outputs.Add(1)
		go func() {
			defer s.outputs.Done()
			defer r.Close()
			if _, err := io.Copy(to, r); err != nil {
				// The reader is gone; the task must not be kept waiting.
				_, _ = io.Copy(io.Discard, r)
			}
		}()
		s.outputsHeld(hold)
	}
	return nil
}

// startInput copies this process's standard input to the task, which must be
// there, and calls closeInput at its end.
func (s *stdio) startInput(closeInput func()) error {
	w, err := os.OpenFile(s.stdin, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open standard stream: %w", err)
	}
	go func() {
		_, _ = io.Copy(w, os.Stdin)
		w.Close()
		closeInput()
	}()
	return nil
}

// outputsHeld keeps a write end open until wait, so that the end of the stream
// is not seen before the task has opened it.
func (s *stdio) outputsHeld(hold *os.File) {
	prior := s.restore
	s.restore = func() { hold.Close(); prior() }
}

// finish waits until all that the task has written is delivered, and removes the
// FIFOs.
func (s *stdio) finish() {
	s.restore()
	s.outputs.Wait()
	os.RemoveAll(s.dir)
}

// makeRaw makes a terminal pass everything through.
func makeRaw(f *os.File) (restore func(), err error) {
	before, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("the container wants a terminal, and standard input is none: %w", err)
	}
	after := *before
	after.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	after.Oflag &^= unix.OPOST
	after.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	after.Cc[unix.VMIN], after.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &after); err != nil {
		return nil, fmt.Errorf("make terminal raw: %w", err)
	}
	return func() { _ = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, before) }, nil
}

// forwardSignals gives every signal that this process gets to the task, and the
// terminal's size with SIGWINCH, until the returned function is called.
func (s *stdio) forwardSignals(ctx context.Context, kill func(context.Context, unix.Signal), resize func(ctx context.Context, width, height uint32)) (stop func()) {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	done := make(chan struct{})
	tell := func() {
		if size, err := unix.IoctlGetWinsize(int(os.Stdin.Fd()), unix.TIOCGWINSZ); err == nil && s.terminal {
			resize(ctx, uint32(size.Col), uint32(size.Row))
		}
	}
	tell()
	go func() {
		for {
			select {
			case <-done:
				return
			case got := <-signals:
				switch sig := got.(unix.Signal); sig {
				case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE:
				case unix.SIGWINCH:
					tell()
				default:
					kill(ctx, sig)
				}
			}
		}
	}()
	return func() { signal.Stop(signals); close(done) }
}
