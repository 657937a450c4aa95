// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/rexec/wire"
)

const (
	// impatience is how often one has to try to end a client that the server
	// doesn't answer.
	impatience = 3
	// settle is how long the kernel may take to stop us after it was asked to.
	settle = 20 * time.Millisecond
)

// notOurs are signals that are not passed on. KILL and STOP can't be caught; TTIN
// and TTOU are about our own terminal; CHLD is about children, which there are
// none; URG and PROF the Go runtime keeps for itself. PIPE comes from writes of
// our own, to a reader or to a daemon that has gone away, and can't be told from
// one that somebody has sent.
var notOurs = []unix.Signal{
	unix.SIGKILL, unix.SIGSTOP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCHLD, unix.SIGURG, unix.SIGPROF, unix.SIGPIPE,
}

// signals are those this process gets.
type signals struct {
	c chan os.Signal

	mu    sync.Mutex
	seq   uint32
	asked map[uint32]unix.Signal // sent and not acknowledged
}

// catch takes all signals that are not ignored.
func catch() *signals {
	s := &signals{c: make(chan os.Signal, 64), asked: make(map[uint32]unix.Signal)}
	var all []os.Signal
	for n := unix.Signal(1); n <= 64; n++ {
		// The C library keeps 32 and 33 for itself.
		if n != 32 && n != 33 && !slices.Contains(notOurs, n) && !signal.Ignored(n) {
			all = append(all, n)
		}
	}
	signal.Notify(s.c, all...)
	return s
}

func (s *signals) release() { signal.Stop(s.c) }

func (s *signals) done(seq uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asked, seq)
}

// next returns the number of a signal that is about to be sent, and whether the
// same was sent too often without an answer.
func (s *signals) next(sig unix.Signal) (uint32, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	same := 1
	for _, other := range s.asked {
		if other == sig {
			same++
		}
	}
	if len(s.asked) < 1024 {
		s.asked[s.seq+1] = sig
	}
	s.seq++
	return s.seq, same >= impatience
}

// deadly are the signals by which people end programs.
var deadly = []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP}

// forward passes signals on.
func (c *conversation) forward() {
	for s := range c.signals.c {
		sig, ok := s.(unix.Signal)
		if !ok {
			continue
		}
		switch {
		case sig == unix.SIGWINCH && c.terminal != nil:
			c.say(&wire.Resize{Size: windowSize(c.terminal.fd)})
		case sig == unix.SIGHUP && c.detach:
			c.leave(sig)
		case sig == unix.SIGCONT:
			c.resume()
		default:
			seq, tooOften := c.signals.next(sig)
			c.say(&wire.Signal{Name: wire.SignalName(sig), Seq: seq})
			if tooOften && slices.Contains(deadly, sig) {
				c.leave(sig)
			}
		}
	}
}

// leave ends this process and leaves the program to the server.
func (c *conversation) leave(sig unix.Signal) {
	if c.terminal != nil {
		c.terminal.restore()
	}
	DieBy(sig)
}

// stop stops this process as the program was stopped. It returns when somebody
// continues it.
func (c *conversation) stop(name string) {
	if c.terminal != nil {
		c.terminal.restore()
	}
	if c.terminal != nil && name == wire.SignalName(unix.SIGTSTP) {
		// The key would have stopped every process of the job.
		var handler action
		setAction(unix.SIGTSTP, &action{}, &handler)
		_ = unix.Kill(0, unix.SIGTSTP)
		time.Sleep(settle)
		setAction(unix.SIGTSTP, &handler, nil)
	} else {
		_ = unix.Kill(unix.Getpid(), unix.SIGSTOP)
		time.Sleep(settle)
	}
	c.resume()
}

// resume goes on after a stop, and has the program go on.
func (c *conversation) resume() {
	if c.terminal != nil {
		c.terminal.take()
		c.say(&wire.Resize{Size: windowSize(c.terminal.fd)})
	}
	seq, _ := c.signals.next(unix.SIGCONT)
	c.say(&wire.Signal{Name: wire.SignalName(unix.SIGCONT), Seq: seq})
}

// DieBy ends this process by a signal, without a core file, so that whoever
// waits for it sees that signal. It returns if the signal doesn't end processes.
func DieBy(sig unix.Signal) {
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	setAction(sig, &action{}, nil)
	_ = unix.Kill(unix.Getpid(), sig)
	// Another thread may be the one that takes it.
	time.Sleep(time.Second)
}

// action is what the kernel calls struct sigaction, the same on amd64 and arm64:
// handler, flags, restorer and mask. All zeros is the default action.
type action [4]uint64

// setAction changes what a signal does behind the back of the runtime, which
// keeps handlers of its own even for signals that were reset.
func setAction(sig unix.Signal, to, old *action) {
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(to[0]), 0, 0)
}
