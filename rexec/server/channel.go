// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/rexec/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// channel joins one pipe or terminal of a program with the stream of its client.
type channel struct {
	file  wire.File
	local *os.File

	mu     sync.Mutex
	change sync.Cond
	stream *session.Stream // nil without a client
	mode   channelMode
	tail   tail
	ended  bool // the program's output is at its end, and all was delivered
}

// channelMode says what becomes of output for which there is no stream.
type channelMode uint8

const (
	channelWaits    channelMode = iota // for the stream, which is on its way
	channelKeeps                       // the end of it, for a later client
	channelDiscards                    // nobody will come
)

// endOfText is what a terminal takes for the end of input, if it takes any.
const endOfText = 4

func newChannel(f wire.File, local *os.File) *channel {
	c := &channel{file: f, local: local}
	c.change.L = &c.mu
	return c
}

func (c *channel) writes() bool { return c.file.Kind != wire.FileIn }
func (c *channel) reads() bool  { return c.file.Kind != wire.FileOut }

// setMode says what to do from now on without a stream.
func (c *channel) setMode(m channelMode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mode = m
	c.change.Broadcast()
}

// attach gives the channel a stream, with what was kept for it.
func (c *channel) attach(st *session.Stream) {
	if !c.catchUp(st) {
		st.Close()
		return
	}
	if c.reads() {
		go c.input(st)
	}
}

// catchUp makes the stream the channel's once it has all that was kept.
func (c *channel) catchUp(st *session.Stream) bool {
	for {
		c.mu.Lock()
		kept := c.tail.take()
		if len(kept) == 0 {
			c.stream = st
			finished := c.ended || !c.writes()
			c.change.Broadcast()
			c.mu.Unlock()
			if finished {
				// Nothing comes from here. An error would be the stream's, which shows.
				_ = st.CloseWrite()
			}
			return true
		}
		c.mu.Unlock()
		if _, err := st.Write(kept); err != nil {
			return false
		}
	}
}

// detach takes the stream away, if it is still that one.
func (c *channel) detach(st *session.Stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream == st {
		c.stream = nil
		c.change.Broadcast()
	}
}

// writeErrors remembers which side of a copy failed.
type writeErrors struct {
	f   *os.File
	err error
}

func (w *writeErrors) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	w.err = err
	return n, err
}

// input copies what the client sends to the program.
func (c *channel) input(st *session.Stream) {
	w := &writeErrors{f: c.local}
	_, err := io.Copy(w, st)
	switch {
	case w.err != nil:
		// The program takes no more, and the client's source shall know.
		if c.file.Kind == wire.FileIn {
			st.Close()
		}
	case err == nil:
		c.endInput()
	default:
		c.detach(st)
		c.mu.Lock()
		keeps := c.mode == channelKeeps
		c.mu.Unlock()
		if !keeps {
			c.endInput()
		}
	}
}

// endInput lets the program see the end of its input.
func (c *channel) endInput() {
	switch c.file.Kind {
	case wire.FileIn:
		c.local.Close()
	case wire.FileBoth:
		_ = control(c.local, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) })
	case wire.FileTerminal:
		_, _ = c.local.Write([]byte{endOfText})
	}
}

const (
	firstRead = 4 << 10
	largeRead = 64 << 10

	// inARow is how soon after the one before a large piece of output must come
	// to be taken for part of much; gather is how long more is waited for then.
	inARow = time.Millisecond
	gather = 50 * time.Microsecond
)

// output copies what the program writes to the client, until the program and
// all its heirs have closed it, or nobody wants more.
func (c *channel) output() {
	buf := make([]byte, firstRead)
	last := time.Now()
	for {
		n, err := c.local.Read(buf)
		if err == nil && n >= firstRead && n < len(buf) && time.Since(last) < inARow {
			n += c.more(buf[n:])
		}
		last = time.Now()
		if n > 0 && !c.deliver(buf[:n]) {
			// The program's next write fails, with SIGPIPE.
			c.local.Close()
			break
		}
		if err != nil {
			break
		}
		if n == len(buf) && n < largeRead {
			buf = make([]byte, largeRead)
		}
	}
	c.mu.Lock()
	c.ended = true
	st := c.stream
	c.mu.Unlock()
	if st != nil {
		_ = st.CloseWrite()
	}
	if c.file.Kind == wire.FileOut {
		c.local.Close()
	}
}

// more waits a moment for a program that writes much in small pieces, and reads
// what there is by then: each piece on its own would cost a frame on every hop.
func (c *channel) more(buf []byte) int {
	time.Sleep(gather)
	n := 0
	raw, err := c.local.SyscallConn()
	if err != nil {
		return 0
	}
	err = raw.Read(func(fd uintptr) bool {
		n, err = unix.Read(int(fd), buf)
		// Whatever it was, the next read sees it again.
		return true
	})
	if err != nil {
		return 0
	}
	return max(n, 0)
}

// deliver passes output on. It returns false if the client wants no more.
func (c *channel) deliver(p []byte) bool {
	for {
		c.mu.Lock()
		for c.stream == nil && c.mode == channelWaits {
			c.change.Wait()
		}
		st := c.stream
		if st == nil {
			if c.mode == channelKeeps {
				c.tail.add(p)
			}
			c.mu.Unlock()
			return true
		}
		c.mu.Unlock()
		n, err := st.Write(p)
		if err == nil {
			return true
		}
		if errors.Is(err, syscall.EPIPE) {
			return false
		}
		p = p[n:]
		c.detach(st)
		c.mu.Lock()
		if c.stream == nil && c.mode == channelWaits {
			// The client is gone. The run will say what that means.
			c.mode = channelDiscards
		}
		c.mu.Unlock()
	}
}
