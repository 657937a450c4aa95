// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/rexec/wire"
)

// nullDevice is /dev/null, as unix.Mkdev(1, 3).
const nullDevice = 1<<8 | 3

// Terminal says whether a program gets a terminal.
type Terminal int

// Choices for a program's terminal.
const (
	// TerminalAuto gives it one if standard input and output are one here.
	TerminalAuto Terminal = iota
	TerminalAlways
	TerminalNever
)

// localFile is a descriptor of ours with what the program gets for it.
type localFile struct {
	wire.File
	in, out int // the descriptor that is read, and the one that is written; or -1
}

// IsTerminal reports whether a descriptor is a terminal.
func IsTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// classify says what the program gets for each of our descriptors: the standard
// three, and more.
func classify(more []int, t Terminal, noInput bool) ([]localFile, bool, error) {
	terminal := t == TerminalAlways || t == TerminalAuto && !noInput && IsTerminal(0) && IsTerminal(1)
	files := []localFile{classifyIn(noInput, terminal), classifyOut(1, terminal, t == TerminalAlways), classifyOut(2, terminal, false)}
	if files[2].Kind == wire.FileOut && files[1].Kind == wire.FileOut && sameFile(1, 2) {
		files[2] = localFile{File: wire.File{Number: 2, Kind: wire.FileSame, Of: 1}, in: -1, out: -1}
	}
	for _, fd := range more {
		if fd < 3 || slices.ContainsFunc(files, func(f localFile) bool { return int(f.Number) == fd }) {
			return nil, false, fmt.Errorf("descriptor %d is passed already", fd)
		}
		f, err := classifyOther(fd, terminal)
		if err != nil {
			return nil, false, err
		}
		files = append(files, f)
	}
	return files, terminal, nil
}

func classifyIn(noInput, terminal bool) localFile {
	f := localFile{File: wire.File{Number: 0, Kind: wire.FileIn}, in: 0, out: -1}
	switch {
	case noInput || isNull(0):
		f.Kind, f.in = wire.FileNull, -1
	case terminal:
		f.Kind, f.out = wire.FileTerminal, 1
	}
	return f
}

func classifyOut(fd int, terminal, forced bool) localFile {
	f := localFile{File: wire.File{Number: uint16(fd), Kind: wire.FileOut}, in: -1, out: fd}
	switch {
	case isNull(fd):
		f.Kind, f.out = wire.FileNull, -1
	case terminal && (forced || IsTerminal(fd)):
		f.Kind = wire.FileTerminal
	}
	return f
}

func classifyOther(fd int, terminal bool) (localFile, error) {
	f := localFile{File: wire.File{Number: uint16(fd)}, in: -1, out: -1}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return f, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	switch access := flags & unix.O_ACCMODE; {
	case isNull(fd):
		f.Kind = wire.FileNull
	case terminal && IsTerminal(fd):
		f.Kind = wire.FileTerminal
	case access == unix.O_RDONLY:
		f.Kind, f.in = wire.FileIn, fd
	case access == unix.O_WRONLY:
		f.Kind, f.out = wire.FileOut, fd
	default:
		f.Kind, f.in, f.out = wire.FileBoth, fd, fd
	}
	return f, nil
}

// isNull reports whether a descriptor is /dev/null, or not open at all.
func isNull(fd int) bool {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return true
	}
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == nullDevice
}

func sameFile(a, b int) bool {
	var x, y unix.Stat_t
	return unix.Fstat(a, &x) == nil && unix.Fstat(b, &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}

// readFD reads as read(2) does, and waits even if the descriptor does not.
func readFD(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		switch err {
		case nil:
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			await(fd, unix.POLLIN, -1)
		default:
			return 0, err
		}
	}
}

// fdWriter writes all of what it is given, and waits even if the descriptor
// does not.
type fdWriter struct {
	fd  int
	err error
}

func (w *fdWriter) Write(p []byte) (int, error) {
	total := 0
	for total < len(p) {
		n, err := unix.Write(w.fd, p[total:])
		switch err {
		case nil:
			total += n
		case unix.EINTR:
		case unix.EAGAIN:
			await(w.fd, unix.POLLOUT, -1)
		default:
			w.err = err
			return total, err
		}
	}
	return total, nil
}

// await waits until a descriptor is ready, or the time in milliseconds is over.
func await(fd int, events int16, timeout int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, timeout)
	return err == nil && n > 0
}
