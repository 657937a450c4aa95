// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/shim/wire"
)

// source is a stream that has some bytes and then ends, unless it is held open.
type source struct {
	io.Reader
	held chan struct{} // nil: it ends
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if err != nil && s.held != nil {
		<-s.held
	}
	return n, err
}

func (s *source) Write(b []byte) (int, error) { return len(b), nil }
func (s *source) CloseWrite() error           { return nil }
func (s *source) Close() error                { return nil }

// outputOf opens the output of a process that has written data, and its FIFO for
// reading.
func outputOf(t *testing.T, data []byte, held chan struct{}) (*processIO, *os.File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stdout")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	p := &processIO{stdout: path}
	err = openStdio(p, "task", "", func(wire.StdioHeader) (stream, error) {
		return &source{bytes.NewReader(data), held}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.abort)
	return p, reader
}

// TestDelivered holds that the end of a process waits for its output, but not
// for a reader that does not read nor for a child that has the output open.
func TestDelivered(t *testing.T) {
	const pipeSize = 64 << 10    // what is in a FIFO is its reader's
	large := make([]byte, 1<<20) // more than a FIFO takes
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })

	p, reader := outputOf(t, large, nil)
	returned := make(chan struct{})
	go func() { p.delivered(t.Context(), ending{last: true}); close(returned) }()
	for got := 0; got < len(large); {
		select {
		case <-returned:
			if len(large)-got > pipeSize {
				t.Fatalf("the end is told after %d bytes", got)
			}
		default:
		}
		n, err := reader.Read(make([]byte, 64<<10))
		if err != nil && err != io.EOF { // before there is a writer
			t.Fatal(err)
		}
		got += n
	}
	<-returned

	for name, c := range map[string]struct {
		data []byte
		held chan struct{}
		end  ending
	}{"nobody reads": {large, nil, ending{last: true, killed: true}}, "a child has it open": {nil, held, ending{}}} {
		p, _ := outputOf(t, c.data, c.held)
		asked := 0
		c.end.ask = func(context.Context) { asked++ }
		begun := time.Now()
		p.delivered(t.Context(), c.end)
		if took := time.Since(begun); took < briefly*tick {
			t.Errorf("%s: the end is told after %v", name, took)
		}
		if asked != 1 {
			t.Errorf("%s: the HOST is asked %d times", name, asked)
		}
		select {
		case <-p.finished:
			t.Errorf("%s: all has been delivered", name)
		default:
		}
	}
}

// TestLateReader holds that output is not given up which a reader takes late,
// nor such that the HOST sends late.
func TestLateReader(t *testing.T) {
	const late = 2 * briefly * tick
	large := make([]byte, 1<<20)
	p, reader := outputOf(t, large, nil)
	held := make(chan struct{})
	slow, _ := outputOf(t, nil, held)
	go func() {
		time.Sleep(late)
		close(held)
		for { // what seems to be the end may be before the writer is there
			if _, err := io.Copy(io.Discard, reader); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	for name, p := range map[string]*processIO{"late reader": p, "late HOST": slow} {
		p.delivered(t.Context(), ending{last: true})
		select {
		case <-p.finished:
		default:
			t.Errorf("%s: the end is told without the output", name)
		}
	}
}

func TestPatience(t *testing.T) {
	for _, c := range []struct {
		end     ending
		writing bool
		want    int
	}{
		{ending{}, false, briefly},
		{ending{killed: true}, false, briefly},
		{ending{}, true, patiently},
		{ending{killed: true}, true, briefly},
		{ending{last: true}, false, patiently},
		{ending{last: true, killed: true}, false, patiently},
		{ending{last: true}, true, patiently},
		{ending{last: true, killed: true}, true, briefly},
	} {
		if got := c.end.patience(c.writing); got != c.want {
			t.Errorf("%+v, writing %v: %d ticks, not %d", c.end, c.writing, got, c.want)
		}
	}
}

// sink is a stream that tells what it is given, and that it has ended.
type sink struct {
	source
	data  chan string
	ended chan struct{}
}

func (s *sink) Write(b []byte) (int, error) { s.data <- string(b); return len(b), nil }
func (s *sink) CloseWrite() error           { close(s.ended); return nil }

// TestInputOutlivesClients opens and closes the writing end as fast as a client
// can that has nothing to say. The input ends when it is told to, not before.
func TestInputOutlivesClients(t *testing.T) {
	// Goroutines in parallel bring out the order in which the reader is there first.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	path := filepath.Join(t.TempDir(), "stdin")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		st := &sink{source{held: make(chan struct{})}, make(chan string), make(chan struct{})}
		client := make(chan error, 1)
		go func() {
			// Waits for the reader, and is gone.
			f, err := os.OpenFile(path, unix.O_WRONLY, 0)
			if err == nil {
				err = f.Close()
			}
			client <- err
		}()
		p := &processIO{stdin: path}
		if err := openStdio(p, "task", "", func(wire.StdioHeader) (stream, error) { return st, nil }); err != nil {
			t.Fatal(err)
		}
		if err := <-client; err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("later"), 0); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-st.data:
			if got != "later" {
				t.Fatalf("got %q", got)
			}
		case <-st.ended:
			t.Fatal("the input ended with its first client")
		case <-time.After(time.Minute):
			t.Fatal("what the second client wrote did not arrive")
		}
		p.closeStdin()
		select {
		case <-st.ended:
		case <-time.After(time.Minute):
			t.Fatal("the input did not end when it was told to")
		}
		p.abort()
	}
}
