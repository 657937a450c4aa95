// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/rexec/wire"
)

// terminalGroup is the group of terminals on every distribution, "tty".
const terminalGroup = 5

// openTerminal makes a terminal that belongs to id.
func openTerminal(t *wire.Terminal, id *identity) (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open terminal: %w", err)
	}
	master = os.NewFile(uintptr(fd), "terminal")
	peer, err := openSlave(fd, t, id)
	if err != nil {
		master.Close()
		return nil, nil, fmt.Errorf("open terminal: %w", err)
	}
	return master, os.NewFile(uintptr(peer), "terminal"), nil
}

func openSlave(master int, t *wire.Terminal, id *identity) (int, error) {
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, err
	}
	// By the master, and not by a name in a /dev/pts that may be another one.
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, errno
	}
	fd := int(r)
	if err := prepareTerminal(fd, t, id); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func prepareTerminal(fd int, t *wire.Terminal, id *identity) error {
	if os.Geteuid() == 0 {
		if err := unix.Fchown(fd, int(id.uid), terminalGroup); err != nil {
			return err
		}
		if err := unix.Fchmod(fd, 0o620); err != nil {
			return err
		}
	}
	if err := resize(fd, t.Size); err != nil {
		return err
	}
	modes, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	wire.SetModes(modes, t.Modes)
	return unix.IoctlSetTermios(fd, unix.TCSETS, modes)
}

func resize(fd int, s wire.Size) error {
	return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: s.Rows, Col: s.Columns, Xpixel: s.Width, Ypixel: s.Height})
}

// control does something with a file's descriptor without making it blocking.
func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var doErr error
	if err := raw.Control(func(fd uintptr) { doErr = do(int(fd)) }); err != nil {
		return err
	}
	return doErr
}
