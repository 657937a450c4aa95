// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/rexec/wire"
)

const (
	// maxFiles bounds the descriptors a client may give a program.
	maxFiles = 64
	// pipeBytes is how large a program's pipes are made.
	pipeBytes = 256 << 10
)

// descriptors are those of a program: what it gets, and the other ends.
type descriptors struct {
	// child has the program's descriptors by their number; gaps are nil.
	child    []*os.File
	channels []*channel
	terminal *channel // the one that is the terminal, or nil
}

// closeChild gives up what belongs to the program.
func (d *descriptors) closeChild() {
	for i, f := range d.child {
		if f != nil && slices.Index(d.child, f) == i {
			f.Close()
		}
	}
	d.child = nil
}

// close gives up everything.
func (d *descriptors) close() {
	d.closeChild()
	for _, c := range d.channels {
		c.local.Close()
	}
}

// numbers returns the program's descriptors for a process that is started, and
// a free number after them.
func (d *descriptors) numbers() []uintptr {
	out := make([]uintptr, len(d.child))
	for i, f := range d.child {
		out[i] = ^uintptr(0)
		if f != nil {
			out[i] = f.Fd()
		}
	}
	return out
}

// checkFiles refuses what can't be made.
func checkFiles(files []wire.File, terminal *wire.Terminal) error {
	seen := make(map[uint16]bool)
	if len(files) > maxFiles {
		return fail(wire.ReasonInvalid, "%d descriptors, more than %d", len(files), maxFiles)
	}
	for _, f := range files {
		switch {
		case f.Number >= firstFD:
			return fail(wire.ReasonInvalid, "descriptor %d is beyond %d", f.Number, firstFD-1)
		case seen[f.Number]:
			return fail(wire.ReasonInvalid, "descriptor %d is given twice", f.Number)
		case f.Kind == wire.FileSame && !seen[f.Of]:
			return fail(wire.ReasonInvalid, "descriptor %d is the same as %d, which is not there before it", f.Number, f.Of)
		case f.Kind == wire.FileTerminal && terminal == nil:
			return fail(wire.ReasonInvalid, "descriptor %d is a terminal, of which nothing is known", f.Number)
		}
		seen[f.Number] = true
	}
	return nil
}

// makeFiles makes a program's descriptors. Those from 0 to 2 that are not asked
// for are /dev/null.
func makeFiles(files []wire.File, terminal *wire.Terminal, id *identity) (d *descriptors, err error) {
	if err := checkFiles(files, terminal); err != nil {
		return nil, err
	}
	d = &descriptors{child: make([]*os.File, 3)}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	for _, f := range files {
		for len(d.child) <= int(f.Number) {
			d.child = append(d.child, nil)
		}
		d.child[f.Number], err = d.makeFile(f, terminal, id)
		if err != nil {
			return nil, fmt.Errorf("make descriptor %d: %w", f.Number, err)
		}
	}
	for i := range 3 {
		if d.child[i] == nil {
			if d.child[i], err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
				return nil, err
			}
		}
	}
	return d, nil
}

// makeFile returns the program's end of one descriptor.
func (d *descriptors) makeFile(f wire.File, terminal *wire.Terminal, id *identity) (*os.File, error) {
	switch f.Kind {
	case wire.FileNull:
		return os.OpenFile(os.DevNull, os.O_RDWR, 0)
	case wire.FileSame:
		return d.child[f.Of], nil
	case wire.FileTerminal:
		if d.terminal != nil {
			return d.child[d.terminal.file.Number], nil
		}
		master, slave, err := openTerminal(terminal, id)
		if err != nil {
			return nil, err
		}
		d.terminal = newChannel(f, master)
		d.channels = append(d.channels, d.terminal)
		return slave, nil
	case wire.FileIn, wire.FileOut:
		ours, theirs, err := makePipe(f.Kind == wire.FileIn)
		if err != nil {
			return nil, err
		}
		d.channels = append(d.channels, newChannel(f, ours))
		return theirs, nil
	case wire.FileBoth:
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		d.channels = append(d.channels, newChannel(f, pollable(fds[0], "socket")))
		return os.NewFile(uintptr(fds[1]), "socket"), nil
	}
	return nil, errors.New("its kind is not known")
}

// makePipe returns our end and the program's. Only ours is nonblocking.
func makePipe(programReads bool) (ours, theirs *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	// A smaller pipe works as well.
	_, _ = unix.FcntlInt(uintptr(p[0]), unix.F_SETPIPE_SZ, pipeBytes)
	if programReads {
		return pollable(p[1], "pipe"), os.NewFile(uintptr(p[0]), "pipe"), nil
	}
	return pollable(p[0], "pipe"), os.NewFile(uintptr(p[1]), "pipe"), nil
}

// pollable returns a file for which the runtime waits without a thread.
func pollable(fd int, name string) *os.File {
	// A descriptor of ours can be made nonblocking.
	_ = unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), name)
}
