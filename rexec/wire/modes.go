// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import "golang.org/x/sys/unix"

// controls has the control characters of a terminal by their names in stty(1).
var controls = [...]struct {
	name  string
	index int
}{
	{"intr", unix.VINTR}, {"quit", unix.VQUIT}, {"erase", unix.VERASE}, {"kill", unix.VKILL},
	{"eof", unix.VEOF}, {"eol", unix.VEOL}, {"eol2", unix.VEOL2}, {"start", unix.VSTART},
	{"stop", unix.VSTOP}, {"susp", unix.VSUSP}, {"rprnt", unix.VREPRINT}, {"werase", unix.VWERASE},
	{"lnext", unix.VLNEXT}, {"discard", unix.VDISCARD}, {"min", unix.VMIN}, {"time", unix.VTIME},
}

// modeFlag is one bit of a terminal's modes.
type modeFlag struct {
	name string
	word func(*unix.Termios) *uint32
	bit  uint32
}

func input(t *unix.Termios) *uint32  { return &t.Iflag }
func output(t *unix.Termios) *uint32 { return &t.Oflag }
func local(t *unix.Termios) *uint32  { return &t.Lflag }

var flags = [...]modeFlag{
	{"icrnl", input, unix.ICRNL}, {"inlcr", input, unix.INLCR}, {"igncr", input, unix.IGNCR},
	{"istrip", input, unix.ISTRIP}, {"ixon", input, unix.IXON}, {"ixany", input, unix.IXANY},
	{"ixoff", input, unix.IXOFF}, {"imaxbel", input, unix.IMAXBEL}, {"iutf8", input, unix.IUTF8},
	{"opost", output, unix.OPOST}, {"onlcr", output, unix.ONLCR}, {"ocrnl", output, unix.OCRNL},
	{"onocr", output, unix.ONOCR}, {"onlret", output, unix.ONLRET},
	{"isig", local, unix.ISIG}, {"icanon", local, unix.ICANON}, {"iexten", local, unix.IEXTEN},
	{"echo", local, unix.ECHO}, {"echoe", local, unix.ECHOE}, {"echok", local, unix.ECHOK},
	{"echonl", local, unix.ECHONL}, {"echoctl", local, unix.ECHOCTL}, {"echoke", local, unix.ECHOKE},
	{"noflsh", local, unix.NOFLSH}, {"tostop", local, unix.TOSTOP},
}

// Modes returns the named settings of a terminal.
func Modes(t *unix.Termios) []Mode {
	modes := make([]Mode, 0, len(controls)+len(flags))
	for _, c := range controls {
		modes = append(modes, Mode{c.name, uint32(t.Cc[c.index])})
	}
	for _, f := range flags {
		var v uint32
		if *f.word(t)&f.bit != 0 {
			v = 1
		}
		modes = append(modes, Mode{f.name, v})
	}
	return modes
}

// SetModes changes those settings of a terminal that modes name. Names that are
// not known here are left out.
func SetModes(t *unix.Termios, modes []Mode) {
	for _, m := range modes {
		for _, c := range controls {
			if c.name == m.Name {
				t.Cc[c.index] = uint8(m.Value)
			}
		}
		for _, f := range flags {
			if f.name != m.Name {
				continue
			}
			if *f.word(t) &^= f.bit; m.Value != 0 {
				*f.word(t) |= f.bit
			}
		}
	}
}
