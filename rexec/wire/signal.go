// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// signals has the names of the classic signals, as in signal(7) without "SIG".
var signals = [...]struct {
	name   string
	number unix.Signal
}{
	{"HUP", unix.SIGHUP}, {"INT", unix.SIGINT}, {"QUIT", unix.SIGQUIT}, {"ILL", unix.SIGILL},
	{"TRAP", unix.SIGTRAP}, {"ABRT", unix.SIGABRT}, {"BUS", unix.SIGBUS}, {"FPE", unix.SIGFPE},
	{"KILL", unix.SIGKILL}, {"USR1", unix.SIGUSR1}, {"SEGV", unix.SIGSEGV}, {"USR2", unix.SIGUSR2},
	{"PIPE", unix.SIGPIPE}, {"ALRM", unix.SIGALRM}, {"TERM", unix.SIGTERM}, {"STKFLT", unix.SIGSTKFLT},
	{"CHLD", unix.SIGCHLD}, {"CONT", unix.SIGCONT}, {"STOP", unix.SIGSTOP}, {"TSTP", unix.SIGTSTP},
	{"TTIN", unix.SIGTTIN}, {"TTOU", unix.SIGTTOU}, {"URG", unix.SIGURG}, {"XCPU", unix.SIGXCPU},
	{"XFSZ", unix.SIGXFSZ}, {"VTALRM", unix.SIGVTALRM}, {"PROF", unix.SIGPROF}, {"WINCH", unix.SIGWINCH},
	{"IO", unix.SIGIO}, {"PWR", unix.SIGPWR}, {"SYS", unix.SIGSYS},
}

// Real-time signals are counted from the first that the C library leaves free.
const (
	rtMin = 34
	rtMax = 64
)

// SignalName returns a signal's name, such as "TERM" or "RTMIN+3".
func SignalName(s unix.Signal) string {
	for _, e := range signals {
		if e.number == s {
			return e.name
		}
	}
	if s >= rtMin && s <= rtMax {
		return "RTMIN+" + strconv.Itoa(int(s)-rtMin)
	}
	return strconv.Itoa(int(s))
}

// ParseSignal returns the number that a name has on this machine. A leading
// "SIG" and letters in lower case are allowed.
func ParseSignal(name string) (unix.Signal, error) {
	upper := strings.TrimPrefix(strings.ToUpper(name), "SIG")
	for _, e := range signals {
		if e.name == upper {
			return e.number, nil
		}
	}
	if rest, ok := strings.CutPrefix(upper, "RTMIN"); ok {
		n, err := 0, error(nil)
		if rest != "" {
			n, err = strconv.Atoi(rest)
		}
		if err == nil && n >= 0 && rtMin+n <= rtMax {
			return unix.Signal(rtMin + n), nil
		}
	}
	return 0, fmt.Errorf("there is no signal %q", name)
}
