// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// terminal is what a joint of a terminal has besides.
//
// The sender's terminal edits lines, echoes and makes signals, as it always did. The
// receiver's program has a pseudo terminal that does none of it (EXTPROC), but tells
// of every change of settings, which the sender's terminal then follows.
type terminal struct {
	master bool // the joint has the receiver's side
	size   unix.Winsize
	sizing *time.Timer // sender: looks for a change of size

	// On the receiver's side:
	lastCR  bool // the last byte that was received is held back
	cooking bool // EXTPROC is off, so that an end of input can be told
}

// sizeInterval is how often the sender's terminal is asked for its size: only
// programs that it controls are told of a change.
const sizeInterval = 500 * time.Millisecond

// packetHeader is the size of what a master in packet mode puts before data.
const packetHeader = 1

// settingsOf asks a terminal for its settings and its size.
func settingsOf(fd int) (wire.Terminal, error) {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return wire.Terminal{}, fmt.Errorf("settings of terminal: %w", err)
	}
	s := wire.Terminal{
		Input: t.Iflag, Output: t.Oflag, Control: t.Cflag, Local: t.Lflag &^ unix.EXTPROC, Line: t.Line, Characters: t.Cc,
	}
	if w, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil {
		s.Rows, s.Columns, s.XPixels, s.YPixels = w.Row, w.Col, w.Xpixel, w.Ypixel
	}
	return s, nil
}

func set(fd int, s wire.Terminal, extra uint32) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err == nil {
		t.Iflag, t.Oflag, t.Cflag, t.Lflag = s.Input, s.Output, s.Control, s.Local&^unix.EXTPROC|extra
		t.Cc = s.Characters
		err = unix.IoctlSetTermios(fd, unix.TCSETS, t)
	}
	if err != nil {
		return fmt.Errorf("set terminal: %w", err)
	}
	return nil
}

func setSize(fd int, s wire.Terminal) error {
	err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: s.Rows, Col: s.Columns, Xpixel: s.XPixels, Ypixel: s.YPixels})
	if err != nil {
		return fmt.Errorf("set size of terminal: %w", err)
	}
	return nil
}

// offerTerminal begins to move for a terminal here. The descriptor is its own.
func (p *peer) offerTerminal(st *session.Stream, f *wire.File, fd int) error {
	defer unix.Close(fd)
	var err error
	if f.Terminal, err = settingsOf(fd); err == nil {
		flags := openFlags(*f)&unix.O_ACCMODE | unix.O_NONBLOCK
		var own int
		if own, err = reopen(fd, flags); err == nil {
			j := &joint{st: st, fd: own, kind: terminalEnd, term: &terminal{}}
			j.term.size = unix.Winsize{Row: f.Terminal.Rows, Col: f.Terminal.Columns, Xpixel: f.Terminal.XPixels, Ypixel: f.Terminal.YPixels}
			j.term.sizing = time.AfterFunc(sizeInterval, j.checkSize)
			j.onEnd = func() { j.term.sizing.Stop() }
			return p.join(j)
		}
	}
	st.Reset(err)
	return err
}

// takeTerminal makes a pseudo terminal.
func (p *peer) takeTerminal(st *session.Stream, f wire.File) (int, error) {
	master, slave, err := openTerminal(f)
	if err != nil {
		st.Reset(err)
		return -1, err
	}
	if err := p.join(&joint{st: st, fd: master, kind: terminalEnd, term: &terminal{master: true}}); err != nil {
		unix.Close(slave)
		return -1, err
	}
	return slave, nil
}

func openTerminal(f wire.File) (master, slave int, err error) {
	master, err = unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("make terminal: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(master)
		}
	}()
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, -1, fmt.Errorf("unlock terminal: %w", err)
	}
	if err := errors.Join(set(master, f.Terminal, unix.EXTPROC), setSize(master, f.Terminal)); err != nil {
		return -1, -1, err
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCPKT, 1); err != nil {
		return -1, -1, fmt.Errorf("ask for changes of terminal: %w", err)
	}
	flags := openFlags(f)&(unix.O_ACCMODE|unix.O_NONBLOCK) | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, uintptr(flags))
	if errno != 0 {
		return -1, -1, fmt.Errorf("open terminal: %w", errno)
	}
	return master, int(fd), nil
}

// checkSize tells the receiver of a new size.
func (j *joint) checkSize() {
	if j.isBroken() {
		return
	}
	defer j.term.sizing.Reset(sizeInterval)
	w, err := unix.IoctlGetWinsize(j.fd, unix.TIOCGWINSZ)
	if err != nil || *w == j.term.size {
		return
	}
	j.term.size = *w
	if s, err := settingsOf(j.fd); err == nil {
		_ = j.send(wire.FrameTerminal, s.Encode())
	}
}

// receiveTerminal takes what the terminal has. An end of input is no end of it: it is
// told by data of no length.
func (j *joint) receiveTerminal(b []byte) (int, error) {
	n, err := unix.Read(j.fd, b)
	switch {
	case errors.Is(err, unix.EIO), err == nil && n == 0 && isGone(j.fd):
		return 0, errNoMore
	case err != nil:
		return 0, err
	case !j.term.master:
		return n, nil
	case n == 0:
		return 0, unix.EAGAIN
	case b[0]&unix.TIOCPKT_IOCTL != 0:
		s, err := settingsOf(j.fd)
		if err != nil {
			return 0, err
		}
		if err := j.send(wire.FrameTerminal, s.Encode()); err != nil {
			return 0, errNoMore
		}
		return j.receiveTerminal(b)
	case b[0] != 0:
		return j.receiveTerminal(b)
	}
	return j.term.uncook(j.fd, b, n), nil
}

// uncook takes off what the receiver's terminal has done to output, which the
// sender's does too: "\r\n" for "\n".
func (t *terminal) uncook(fd int, b []byte, n int) int {
	s, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	cooked := err == nil && s.Oflag&unix.OPOST != 0 && s.Oflag&unix.ONLCR != 0
	out := 0
	held := t.lastCR
	t.lastCR = false
	data := b[packetHeader:n]
	if held {
		// There is room for it where the header was.
		b[0] = '\r'
		data = b[:n]
	}
	for i, c := range data {
		if cooked && c == '\r' {
			if i == len(data)-1 {
				t.lastCR = true
				continue
			}
			if data[i+1] == '\n' {
				continue
			}
		}
		b[out] = c
		out++
	}
	return out
}

// writeTerminal writes what the peer sends.
func (j *joint) writeTerminal(b []byte) (int, error) {
	if j.term.master && j.term.cooking {
		if err := j.cook(false); err != nil {
			return 0, err
		}
	}
	return unix.Write(j.fd, b)
}

// endOfInput has the program read an end of input, which only a terminal that edits
// lines can make.
func (j *joint) endOfInput() error {
	if !j.term.master {
		return nil
	}
	s, err := settingsOf(j.fd)
	if err != nil || s.Local&unix.ICANON == 0 {
		return err
	}
	if err := j.cook(true); err != nil {
		return err
	}
	_, err = unix.Write(j.fd, s.Characters[unix.VEOF:unix.VEOF+1])
	return err
}

// cook has the receiver's terminal edit lines itself, or not any more.
func (j *joint) cook(on bool) error {
	s, err := settingsOf(j.fd)
	if err != nil {
		return err
	}
	j.term.cooking = on
	if on {
		return set(j.fd, s, 0)
	}
	return set(j.fd, s, unix.EXTPROC)
}

// follow does what the other side says of its terminal.
func (j *joint) follow(payload []byte) error {
	if j.kind != terminalEnd {
		return fmt.Errorf("%w: settings of a terminal for something else", wire.ErrMalformed)
	}
	s, err := wire.ParseTerminal(payload)
	if err != nil {
		return err
	}
	if j.term.master {
		return setSize(j.fd, s)
	}
	return set(j.fd, s, 0)
}
