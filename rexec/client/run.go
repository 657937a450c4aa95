// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/rexec/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// Options say what a client does with its own descriptors.
type Options struct {
	// Files are descriptors beside the standard three.
	Files    []int
	Terminal Terminal
	// NoInput gives the program no standard input.
	NoInput bool
}

// conversation is a client's part in one run.
type conversation struct {
	sess     *session.Session
	token    wire.Token
	control  *session.Stream
	files    []localFile
	terminal *terminal
	detach   bool
	outputs  sync.WaitGroup
	signals  *signals

	sending sync.Mutex
}

// Run runs a program and returns how it ended. What m says of descriptors and
// the terminal is filled in. The signals this process gets are the program's
// while Run runs.
func Run(ctx context.Context, sess *session.Session, m *wire.Run, o Options) (*wire.Exited, error) {
	files, wants, err := classify(o.Files, o.Terminal, o.NoInput)
	if err != nil {
		return nil, err
	}
	c := &conversation{sess: sess, token: newToken(), files: files, detach: m.Detach}
	m.Token = c.token
	for _, f := range files {
		m.Files = append(m.Files, f.File)
	}
	if wants {
		m.Terminal = describe(c.terminalFD())
	}
	streams, err := c.open(ctx, files)
	if err != nil {
		return nil, err
	}
	return c.converse(ctx, m, func(*wire.Started) ([]*session.Stream, error) { return streams, nil })
}

// Attach becomes the client of a run that has none, and returns how it ended.
func Attach(ctx context.Context, sess *session.Session, id string) (*wire.Exited, error) {
	c := &conversation{sess: sess, token: newToken(), detach: true}
	m := &wire.Attach{Token: c.token, ID: id}
	if IsTerminal(0) {
		size := windowSize(0)
		m.Size = &size
	}
	return c.converse(ctx, m, func(s *wire.Started) ([]*session.Stream, error) {
		c.files = localFiles(s.Files)
		return c.open(ctx, c.files)
	})
}

// localFiles says which of our descriptors are those of a run.
func localFiles(files []wire.File) []localFile {
	var out []localFile
	for _, f := range files {
		l := localFile{File: f, in: -1, out: -1}
		n := int(f.Number)
		switch f.Kind {
		case wire.FileIn:
			l.in = n
		case wire.FileOut:
			l.out = n
		case wire.FileBoth:
			l.in, l.out = n, n
		case wire.FileTerminal:
			l.in, l.out = 0, 1
		}
		if n > 2 && isNull(n) {
			// It is not open here.
			l.in, l.out = -1, -1
		}
		out = append(out, l)
	}
	return out
}

func (c *conversation) terminalFD() int {
	for _, f := range c.files {
		if f.Kind == wire.FileTerminal && f.in >= 0 && IsTerminal(f.in) {
			return f.in
		}
	}
	return 1
}

// open opens the stream of each descriptor that has one; the others are nil.
func (c *conversation) open(ctx context.Context, files []localFile) ([]*session.Stream, error) {
	streams := make([]*session.Stream, len(files))
	terminal := false
	for i, f := range files {
		switch f.Kind {
		case wire.FileNull, wire.FileSame:
			continue
		case wire.FileTerminal:
			if terminal {
				continue
			}
			terminal = true
		}
		st, err := c.sess.Open(ctx, wire.ServiceIO, wire.IOHeader{Token: c.token, Number: f.Number}.Encode())
		if err != nil {
			return nil, err
		}
		streams[i] = st
	}
	return streams, nil
}

// converse says what is wanted and does its part until the program has ended.
func (c *conversation) converse(ctx context.Context, m wire.Message, streams func(*wire.Started) ([]*session.Stream, error)) (*wire.Exited, error) {
	control, err := c.sess.Open(ctx, wire.ServiceControl, nil)
	if err != nil {
		return nil, err
	}
	c.control = control
	if err := wire.Write(control, m); err != nil {
		return nil, err
	}
	// This takes as long as starting a program does, so it is done meanwhile.
	c.signals = catch()
	defer c.signals.release()
	in := bufio.NewReaderSize(control, 512)
	first, err := wire.Read(in)
	if err != nil {
		return nil, lost(err)
	}
	switch first := first.(type) {
	case *wire.Failed:
		return nil, refused(first)
	case *wire.Started:
		l, err := streams(first)
		if err != nil {
			return nil, err
		}
		c.pump(l)
	default:
		return nil, unexpected(first)
	}
	go c.forward()
	status, err := c.listen(in)
	if c.terminal != nil {
		c.terminal.restore()
	}
	return status, err
}

// lost says what the end of a control stream means.
func lost(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the server has ended the run")
	}
	return err
}

// listen hears of the program until it ends.
func (c *conversation) listen(in *bufio.Reader) (*wire.Exited, error) {
	for {
		m, err := wire.Read(in)
		if err != nil {
			return nil, lost(err)
		}
		switch m := m.(type) {
		case *wire.Stopped:
			c.stop(m.Signal)
		case *wire.Continued:
		case *wire.Done:
			c.signals.done(m.Seq)
		case *wire.Exited:
			c.outputs.Wait()
			return m, nil
		case *wire.Failed:
			return nil, refused(m)
		default:
			return nil, unexpected(m)
		}
	}
}

// pump begins to copy.
func (c *conversation) pump(streams []*session.Stream) {
	for i, st := range streams {
		if st == nil {
			continue
		}
		f := c.files[i]
		if f.out >= 0 {
			c.outputs.Go(func() { c.output(st, f) })
		}
		if f.in < 0 {
			// Nothing goes there. An error would be the stream's, which shows.
			_ = st.CloseWrite()
			continue
		}
		if f.Kind == wire.FileTerminal && IsTerminal(f.in) {
			c.terminal = &terminal{fd: f.in}
			c.terminal.raw()
		}
		go c.input(st, f)
	}
}

const inputBytes = 64 << 10

// input copies from a descriptor of ours to the program.
func (c *conversation) input(st *session.Stream, f localFile) {
	read := func(p []byte) (int, error) { return readFD(f.in, p) }
	if f.Kind == wire.FileTerminal && c.terminal != nil {
		read = c.terminal.read
	} else if IsTerminal(f.in) {
		// In the foreground only; its modes stay as they are.
		read = (&terminal{fd: f.in, saved: new(unix.Termios)}).read
	}
	buf := make([]byte, inputBytes)
	for {
		n, err := read(buf)
		if n > 0 {
			if _, err := st.Write(buf[:n]); err != nil {
				closeFD(f.in)
				return
			}
		}
		if err != nil || n == 0 {
			// Closing says all there is to say.
			_ = st.CloseWrite()
			return
		}
	}
}

// output copies from the program to a descriptor of ours.
func (c *conversation) output(st *session.Stream, f localFile) {
	w := &fdWriter{fd: f.out}
	_, err := io.Copy(w, st)
	if w.err != nil {
		// The program's next write fails as it would have here.
		st.Close()
		return
	}
	if err == nil && f.Kind == wire.FileOut {
		// Whoever reads it sees the end now, not when the program ends.
		closeFD(f.out)
		for _, other := range c.files {
			if other.Kind == wire.FileSame && other.Of == f.Number {
				closeFD(int(other.Number))
			}
		}
	}
}

// closeFD closes what a descriptor was, and keeps its number taken.
func closeFD(fd int) {
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(null)
	_ = unix.Dup3(null, fd, 0)
}

// say sends a message about the run.
func (c *conversation) say(m wire.Message) {
	c.sending.Lock()
	defer c.sending.Unlock()
	// An error is the stream's, and listen sees it.
	_ = wire.Write(c.control, m)
}

// List returns every run the server knows.
func List(ctx context.Context, sess *session.Session) ([]wire.RunInfo, error) {
	m, err := ask(ctx, sess, &wire.List{})
	if err != nil {
		return nil, err
	}
	l, ok := m.(*wire.Listing)
	if !ok {
		return nil, unexpected(m)
	}
	return l.Runs, nil
}

// Wait waits for the end of a run.
func Wait(ctx context.Context, sess *session.Session, id string) (*wire.Exited, error) {
	m, err := ask(ctx, sess, &wire.Wait{ID: id})
	if err != nil {
		return nil, err
	}
	e, ok := m.(*wire.Exited)
	if !ok {
		return nil, unexpected(m)
	}
	return e, nil
}

// Kill sends a run a signal.
func Kill(ctx context.Context, sess *session.Session, id, signal string) error {
	m, err := ask(ctx, sess, &wire.Kill{ID: id, Signal: signal})
	if err != nil {
		return err
	}
	if _, ok := m.(*wire.Done); !ok {
		return unexpected(m)
	}
	return nil
}

// Background starts a program that no client waits for, and returns its run.
func Background(ctx context.Context, sess *session.Session, m *wire.Run) (*wire.Started, error) {
	m.Background = true
	for n := range uint16(3) {
		kind := wire.FileOut
		if n == 0 {
			kind = wire.FileNull
		}
		m.Files = append(m.Files, wire.File{Number: n, Kind: kind})
	}
	answer, err := ask(ctx, sess, m)
	if err != nil {
		return nil, err
	}
	s, ok := answer.(*wire.Started)
	if !ok {
		return nil, unexpected(answer)
	}
	return s, nil
}

// ask sends one message and returns the answer.
func ask(ctx context.Context, sess *session.Session, m wire.Message) (wire.Message, error) {
	st, err := sess.Open(ctx, wire.ServiceControl, nil)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	stop := context.AfterFunc(ctx, func() { st.Reset(ctx.Err()) })
	defer stop()
	if err := wire.Write(st, m); err != nil {
		return nil, err
	}
	answer, err := wire.Read(bufio.NewReader(st))
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the server has closed the stream without an answer")
	}
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if f, ok := answer.(*wire.Failed); ok {
		return nil, refused(f)
	}
	return answer, nil
}
