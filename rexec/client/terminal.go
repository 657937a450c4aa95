// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/rexec/wire"
)

// terminal is our own, while the program has one on the other machine: it passes
// on every key as it comes.
type terminal struct {
	fd int

	mu    sync.Mutex
	saved *unix.Termios // nil unless it was changed
	given bool          // back to whoever had it: not to be changed until taken
}

// describe returns what the program's terminal shall be like.
func describe(fd int) *wire.Terminal {
	t := new(wire.Terminal)
	if modes, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
		t.Modes = wire.Modes(modes)
	}
	t.Size = windowSize(fd)
	return t
}

func windowSize(fd int) wire.Size {
	w, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return wire.Size{Rows: 24, Columns: 80}
	}
	return wire.Size{Rows: w.Row, Columns: w.Col, Width: w.Xpixel, Height: w.Ypixel}
}

// foreground reports whether our group may read the terminal.
func (t *terminal) foreground() bool {
	group, err := unix.IoctlGetInt(t.fd, unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}

// raw makes the terminal pass on every key, if it is ours to change.
func (t *terminal) raw() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.saved != nil || t.given || !t.foreground() {
		return
	}
	saved, err := unix.IoctlGetTermios(t.fd, unix.TCGETS)
	if err != nil {
		return
	}
	raw := *saved
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if unix.IoctlSetTermios(t.fd, unix.TCSETSW, &raw) == nil {
		t.saved = saved
	}
}

// take undoes restore: whoever had the terminal has given it to us again.
func (t *terminal) take() {
	t.mu.Lock()
	t.given = false
	t.mu.Unlock()
	t.raw()
}

// restore gives the terminal back as it was. It stays so, whatever goes on reading
// keys, until it is taken.
func (t *terminal) restore() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.given = true
	if t.saved == nil {
		return
	}
	if t.foreground() {
		_ = unix.IoctlSetTermios(t.fd, unix.TCSETSW, t.saved)
	}
	t.saved = nil
}

// pollInterval is how often a client in the background looks whether it is
// there still, in milliseconds.
const pollInterval = 200

// read reads a key, or more. Unlike read(2) it waits for the foreground without
// being stopped: locally, too, a program may run in the background until it
// reads.
func (t *terminal) read(p []byte) (int, error) {
	for {
		if !t.foreground() {
			await(-1, 0, pollInterval)
			continue
		}
		t.raw()
		if await(t.fd, unix.POLLIN, pollInterval) && t.foreground() {
			return readFD(t.fd, p)
		}
	}
}
