// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/rexec/wire"
)

// leaderName is the name by which a leader knows that it is one.
const leaderName = "rexec-leader"

// Descriptors of a leader.
const (
	leaderControl  = 3
	leaderTerminal = 4
	leaderProgram  = 5
	leaderNames    = 6 // the directory of names of programs
)

// namesFD is what the leader makes of leaderNames, beyond the program's own.
const namesFD = firstFD + 1

// leaderPlan says what a leader has to start.
type leaderPlan struct {
	Path    string
	Args    [][]byte
	Env     [][]byte
	Files   []int // a leader's descriptor for each of the program's, -1 for none
	Program int   // the number the program's own descriptor must have
	Script  bool
	Umask   int
	Rlimits []wire.Rlimit

	Credential *syscall.Credential
}

// leaderOrder is a signal for the program, or for the terminal's foreground.
type leaderOrder struct {
	Signal int
	Group  bool
}

// leaderNews is what a leader tells.
type leaderNews struct {
	Pid    int    `json:",omitempty"`
	Errno  int    `json:",omitempty"`
	Error  string `json:",omitempty"`
	Status *int   `json:",omitempty"` // as wait(2) gives it
}

// RunLeader does nothing unless this process was started as the leader of a
// terminal's session, which it then is until it ends.
func RunLeader() {
	if len(os.Args) == 0 || os.Args[0] != leaderName {
		return
	}
	if err := lead(); err != nil {
		fmt.Fprintln(os.Stderr, "rexec: lead session:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func lead() error {
	runtime.GOMAXPROCS(1)
	// Caught and dropped: what is ignored would be ignored by the program too.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGTERM, unix.SIGPIPE)
	w := newWatcher()
	control := os.NewFile(leaderControl, "control")
	news := json.NewEncoder(control)
	orders := json.NewDecoder(control)
	var plan leaderPlan
	if err := orders.Decode(&plan); err != nil {
		return fmt.Errorf("read plan: %w", err)
	}
	pid, err := plan.start()
	if err != nil {
		var errno syscall.Errno
		errors.As(err, &errno)
		return news.Encode(leaderNews{Error: err.Error(), Errno: int(errno)})
	}
	if err := news.Encode(leaderNews{Pid: pid}); err != nil {
		return err
	}
	ended := make(chan struct{})
	w.add(pid, func(ws unix.WaitStatus) {
		status := int(ws)
		// A server that is gone shows when orders are read.
		_ = news.Encode(leaderNews{Status: &status})
		if ws.Exited() || ws.Signaled() {
			close(ended)
		}
	})
	go func() {
		obey(w, pid, orders)
		// The server is gone, and nothing of it shall stay.
		_ = w.signal(pid, unix.SIGKILL, true)
	}()
	// The end of the leader hangs up the terminal.
	<-ended
	return nil
}

// obey passes signals on until the server is gone.
func obey(w *watcher, pid int, orders *json.Decoder) {
	for {
		var o leaderOrder
		if err := orders.Decode(&o); err != nil {
			return
		}
		sig := unix.Signal(o.Signal)
		if !o.Group {
			_ = w.signal(pid, sig, false)
			continue
		}
		if sig == unix.SIGCONT {
			// As a shell does for a job that it puts into the foreground.
			toForeground(pid)
			_ = w.signal(pid, sig, true)
			continue
		}
		if group, err := unix.IoctlGetInt(leaderTerminal, unix.TIOCGPGRP); err == nil && group > 1 {
			_ = unix.Kill(-group, sig)
		}
	}
}

// toForeground puts a group into the terminal's foreground. A leader in the
// background may do that only while it doesn't take SIGTTOU.
func toForeground(group int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var blocked, before unix.Sigset_t
	blocked.Val[0] = 1 << (unix.SIGTTOU - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &blocked, &before); err != nil {
		return
	}
	_ = unix.IoctlSetPointerInt(leaderTerminal, unix.TIOCSPGRP, group)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
}

// start starts the program in the terminal's foreground.
func (p *leaderPlan) start() (int, error) {
	files := make([]uintptr, len(p.Files))
	for i, fd := range p.Files {
		files[i] = ^uintptr(0)
		if fd >= 0 {
			files[i] = uintptr(fd)
		}
	}
	if p.Script {
		for len(files) < p.Program {
			files = append(files, ^uintptr(0))
		}
		files = append(files, leaderProgram)
	} else if err := unix.Dup3(leaderProgram, p.Program, unix.O_CLOEXEC); err != nil {
		return 0, os.NewSyscallError("dup3", err)
	}
	if err := unix.Dup3(leaderNames, namesFD, unix.O_CLOEXEC); err != nil {
		return 0, os.NewSyscallError("dup3", err)
	}
	if err := closeAllOnExec(); err != nil {
		return 0, err
	}
	return spawn(spawnRequest{
		path: p.Path, args: stringsOf(p.Args), umask: p.Umask, rlimits: p.Rlimits,
		attr: &syscall.ProcAttr{
			Env: stringsOf(p.Env), Files: files,
			Sys: &syscall.SysProcAttr{
				Setpgid: true, Foreground: true, Ctty: leaderTerminal, Credential: p.Credential, Pdeathsig: unix.SIGKILL,
			},
		},
	})
}

func stringsOf(l [][]byte) []string {
	out := make([]string, len(l))
	for i, b := range l {
		out[i] = string(b)
	}
	return out
}

func bytesOf(l []string) [][]byte {
	out := make([][]byte, len(l))
	for i, s := range l {
		out[i] = []byte(s)
	}
	return out
}

// startLed starts a leader and has it start the program.
func (s *Server) startLed(c *command, d *descriptors) (*led, func(*run), error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("start leader: %w", err)
	}
	ours, theirs := pollable(fds[0], "leader"), os.NewFile(uintptr(fds[1]), "leader")
	defer theirs.Close()
	terminal := d.child[d.terminal.file.Number]
	plan := leaderPlan{
		Args: bytesOf(c.args), Env: bytesOf(c.env), Umask: c.umask, Rlimits: c.rlimits, Credential: c.credential,
		Script: c.program.script, Program: firstFD,
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		ours.Close()
		return nil, nil, fmt.Errorf("start leader: %w", err)
	}
	defer null.Close()
	files := []uintptr{null.Fd(), null.Fd(), 2, theirs.Fd(), terminal.Fd(), c.program.file.Fd(), s.execAt.Fd()}
	for _, f := range d.child {
		switch f {
		case nil:
			plan.Files = append(plan.Files, -1)
		case terminal:
			plan.Files = append(plan.Files, leaderTerminal)
		default:
			plan.Files = append(plan.Files, len(files))
			files = append(files, f.Fd())
		}
	}
	if plan.Script {
		plan.Program = len(plan.Files)
	}
	if plan.Path, err = s.link(c.program, plan.Program, namesFD); err != nil {
		ours.Close()
		return nil, nil, err
	}
	leader, err := spawn(spawnRequest{
		path: "/proc/self/exe", args: []string{leaderName}, umask: 0o022,
		attr: &syscall.ProcAttr{
			Dir: c.dir, Env: []string{}, Files: files,
			Sys: &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: leaderTerminal, Pdeathsig: unix.SIGKILL},
		},
	})
	if err != nil {
		ours.Close()
		return nil, nil, fmt.Errorf("start leader: %w", err)
	}
	return s.awaitLed(ours, leader, plan, d)
}

// awaitLed gives a leader its plan and hears what has become of the program.
func (s *Server) awaitLed(socket *os.File, leader int, plan leaderPlan, d *descriptors) (*led, func(*run), error) {
	l := &led{w: s.watch, leader: leader, control: socket, terminal: d.terminal.local}
	gone := make(chan struct{})
	s.watch.add(leader, func(ws unix.WaitStatus) {
		if ws.Exited() || ws.Signaled() {
			close(gone)
		}
	})
	news := json.NewDecoder(socket)
	var first leaderNews
	err := json.NewEncoder(socket).Encode(plan)
	if err == nil {
		err = news.Decode(&first)
	}
	if err == nil && first.Error != "" {
		err = errors.New(first.Error)
		if first.Errno != 0 {
			err = syscall.Errno(first.Errno)
		}
	}
	if err != nil {
		_ = s.watch.signal(leader, unix.SIGKILL, false)
		socket.Close()
		<-gone
		return nil, nil, err
	}
	l.program = first.Pid
	follow := func(r *run) {
		go func() {
			defer socket.Close()
			for {
				var n leaderNews
				if err := news.Decode(&n); err != nil {
					break
				}
				if n.Status != nil {
					r.changed(unix.WaitStatus(*n.Status))
				}
			}
			<-gone
			// If the leader was killed, so was the program.
			r.changed(unix.WaitStatus(unix.SIGKILL))
		}()
	}
	return l, follow, nil
}
