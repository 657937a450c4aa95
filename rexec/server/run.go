// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/rexec/wire"
)

// States of a run.
const (
	stateRunning = "running"
	stateStopped = "stopped"
	stateEnded   = "ended"
)

// process is a program that was started.
type process interface {
	// signal sends a signal to the program, or to the group that is in the
	// foreground.
	signal(sig unix.Signal, group bool) error
	// session is the number of the session it is in.
	session() int
	// pid is the program's number.
	pid() int
}

// run is a program with what belongs to it.
type run struct {
	s       *Server
	id      string
	user    string
	caller  string
	command []string
	file    string
	started time.Time
	detach  bool
	files   []wire.File
	io      *descriptors
	log     *slog.Logger

	// exited is closed when the program has ended, done when its output has, too.
	exited, done chan struct{}

	mu     sync.Mutex
	proc   process
	state  string
	status wire.Exited
	client *client
	doomed bool
}

// describe returns what a listing says.
func (r *run) describe() wire.RunInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	return wire.RunInfo{
		ID: r.id, Pid: int32(r.proc.pid()), User: r.user, Caller: r.caller, Command: r.command, Started: r.started,
		State: r.state, Attached: r.client != nil, Detach: r.detach, Status: r.status,
	}
}

// changed takes a change of the program's state.
func (r *run) changed(ws unix.WaitStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == stateEnded {
		return
	}
	switch {
	case ws.Stopped():
		r.state = stateStopped
		r.tellLocked(&wire.Stopped{Signal: wire.SignalName(ws.StopSignal())})
	case ws.Continued():
		r.state = stateRunning
		r.tellLocked(&wire.Continued{})
	default:
		r.state = stateEnded
		r.status = exitStatus(ws)
		r.tellLocked(&r.status)
		r.logEnd()
		close(r.exited)
	}
}

func exitStatus(ws unix.WaitStatus) wire.Exited {
	if ws.Signaled() {
		return wire.Exited{Signal: wire.SignalName(ws.Signal()), Core: ws.CoreDump()}
	}
	return wire.Exited{Code: uint8(ws.ExitStatus())}
}

func (r *run) tellLocked(m wire.Message) {
	if r.client != nil {
		r.client.tell(m)
	}
}

func (r *run) logEnd() {
	attrs := []any{"status", r.status.Code, "duration", time.Since(r.started).Round(time.Microsecond)}
	if r.status.Signal != "" {
		attrs = []any{"signal", r.status.Signal, "duration", time.Since(r.started).Round(time.Microsecond)}
	}
	r.log.Info("run ended", attrs...)
}

// begin lets the output flow and sees to the end of the run.
func (r *run) begin() {
	var outputs sync.WaitGroup
	for _, c := range r.io.channels {
		if c.writes() {
			outputs.Go(c.output)
		}
	}
	go func() {
		<-r.exited
		for _, c := range r.io.channels {
			if c.file.Kind == wire.FileIn {
				c.local.Close()
			}
		}
		outputs.Wait()
		for _, c := range r.io.channels {
			c.local.Close()
		}
		close(r.done)
		r.s.ended(r)
	}()
}

// attach makes c the run's client. It returns false if there is another one.
func (r *run) attach(c *client) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != nil {
		return false
	}
	r.client = c
	return true
}

// greet tells a client that has attached what there is.
func (r *run) greet(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.tell(&wire.Started{ID: r.id, Pid: int32(r.proc.pid()), Files: r.files})
	if r.state == stateEnded {
		c.tell(&r.status)
	}
}

// leave takes the client away. Without detach the program ends with it.
func (r *run) leave(c *client) {
	r.mu.Lock()
	if r.client != c {
		r.mu.Unlock()
		return
	}
	r.client = nil
	ended := r.state == stateEnded
	r.mu.Unlock()
	switch {
	case ended:
		r.discard()
	case !r.detach:
		r.log.Info("client is gone")
		r.terminate(r.s.grace())
	}
}

// discard gives up what nobody will read.
func (r *run) discard() {
	for _, c := range r.io.channels {
		c.setMode(channelDiscards)
		select {
		case <-r.exited:
			c.local.Close()
		default:
		}
	}
}

// terminate ends the program and every process of its session: by SIGHUP, and
// after the grace time by SIGKILL. Of a run that is over there is nothing to end.
func (r *run) terminate(grace time.Duration) {
	if !r.doom() {
		return
	}
	go func() {
		defer r.s.ending.Done()
		r.discard()
		sid := r.proc.session()
		signalSession(sid, unix.SIGHUP)
		signalSession(sid, unix.SIGCONT)
		timeout := time.NewTimer(grace)
		defer timeout.Stop()
		select {
		case <-r.exited:
		case <-timeout.C:
		}
		// What the program has left behind in its session ends with it.
		for range 100 {
			if signalSession(sid, unix.SIGKILL) == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		<-r.exited
		r.discard()
		<-r.done
	}()
}

// doom reports whether the run is to be ended by the caller, who says Done of the
// server's ending then. After doom of each run nothing is added to that any more, so
// that it can be waited for.
func (r *run) doom() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.done:
		return false
	default:
	}
	if r.doomed {
		return false
	}
	r.doomed = true
	r.s.ending.Add(1)
	return true
}

// keyboard are the signals that terminals send to a group.
var keyboard = []unix.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGHUP, unix.SIGWINCH, unix.SIGCONT}

// signal passes a signal on.
func (r *run) signal(sig unix.Signal) error {
	r.mu.Lock()
	proc := r.proc
	r.mu.Unlock()
	return proc.signal(sig, slices.Contains(keyboard, sig))
}

// resize changes the size of the run's terminal.
func (r *run) resize(size wire.Size) error {
	if r.io.terminal == nil {
		return r.signal(unix.SIGWINCH)
	}
	return control(r.io.terminal.local, func(fd int) error { return resize(fd, size) })
}

// direct is a program that is our child and leads a session without a terminal.
type direct struct {
	w  *watcher
	id int
}

func (d *direct) pid() int     { return d.id }
func (d *direct) session() int { return d.id }

func (d *direct) signal(sig unix.Signal, group bool) error {
	if sig == unix.SIGTSTP && !catches(d.id, sig) {
		// Nobody in its session could continue it, so the kernel would not stop
		// it by this signal. Its client can continue it.
		sig = unix.SIGSTOP
	}
	return d.w.signal(d.id, sig, group)
}

// led is a program with a terminal, the child of the session's leader.
type led struct {
	w        *watcher
	leader   int
	program  int
	terminal *os.File

	mu      sync.Mutex
	control *os.File // the socket to the leader
}

func (l *led) pid() int     { return l.program }
func (l *led) session() int { return l.leader }

// signal goes by way of the leader, the program's parent, who knows whether it
// still is.
func (l *led) signal(sig unix.Signal, group bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return json.NewEncoder(l.control).Encode(leaderOrder{Signal: int(sig), Group: group})
}

// shortCommand is a command for the log.
func shortCommand(args []string) string {
	const most = 256
	s := strings.Join(args, " ")
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}
