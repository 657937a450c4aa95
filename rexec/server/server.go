// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/rexec/policy"
	"github.com/container-offload/offload/rexec/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

const (
	// maxEnded bounds how many runs are remembered after their end, and
	// keepEnded for how long.
	maxEnded  = 256
	keepEnded = time.Hour
)

// Options say how a server behaves.
type Options struct {
	Policy *policy.Policy
	// Dir is a directory of this server, which it makes and removes.
	Dir string
	// ResumeTimeout is how long a client may be out of reach. Default 5 minutes.
	ResumeTimeout time.Duration
	Logger        *slog.Logger
}

// Server runs programs. Its methods may be called concurrently.
type Server struct {
	log      *slog.Logger
	policy   atomic.Pointer[policy.Policy]
	execDir  string
	execAt   *os.File // the same, as a descriptor beyond those of programs
	watch    *watcher
	acceptor *session.Acceptor
	ending   sync.WaitGroup // runs that are being ended

	mu      sync.Mutex
	links   map[string]bool
	runs    map[string]*run
	live    int
	closed  bool
	peers   map[wire.Token]*session.Session
	changed chan struct{} // closed when live or peers change
}

// New returns a server.
func New(o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		log: o.Logger, execDir: filepath.Join(o.Dir, "exec"),
		links: make(map[string]bool), runs: make(map[string]*run), peers: make(map[wire.Token]*session.Session),
		changed:  make(chan struct{}),
		acceptor: session.NewAcceptor(session.Config{Name: "client of rexec", ResumeTimeout: o.ResumeTimeout}),
	}
	s.policy.Store(o.Policy)
	// What another server may have left has nobody who needs it.
	if err := os.RemoveAll(s.execDir); err != nil {
		return nil, fmt.Errorf("make directory of rexec: %w", err)
	}
	if err := os.MkdirAll(s.execDir, 0o711); err != nil {
		return nil, fmt.Errorf("make directory of rexec: %w", err)
	}
	var err error
	if s.execAt, err = openHigh(s.execDir, unix.O_PATH|unix.O_DIRECTORY); err != nil {
		return nil, fmt.Errorf("open directory of rexec: %w", err)
	}
	// What this process has inherited is not for programs.
	if err := closeAllOnExec(); err != nil {
		s.execAt.Close()
		return nil, err
	}
	s.watch = newWatcher()
	return s, nil
}

// SetPolicy replaces the allow-list. What runs already is not touched.
func (s *Server) SetPolicy(p *policy.Policy) { s.policy.Store(p) }

func (s *Server) grace() time.Duration { return time.Duration(s.policy.Load().Grace) }

// Close ends every program and waits for their ends.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	runs := make([]*run, 0, len(s.runs))
	for _, r := range s.runs {
		runs = append(runs, r)
	}
	s.mu.Unlock()
	for _, r := range runs {
		r.terminate(min(s.grace(), 2*time.Second))
	}
	s.ending.Wait()
	s.closePeers()
	s.watch.close()
	s.execAt.Close()
	if err := os.RemoveAll(s.execDir); err != nil {
		s.log.Warn("remove directory of rexec", "error", err)
	}
}

// Idle reports whether nothing runs and nobody is connected, and returns a
// channel that is closed when that may have changed.
func (s *Server) Idle() (bool, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live == 0 && len(s.peers) == 0, s.changed
}

func (s *Server) notifyLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// reserve takes one of the places for runs.
func (s *Server) reserve() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := s.policy.Load().MaxRuns
	switch {
	case s.closed:
		return fail(wire.ReasonBusy, "the server is ending")
	case s.live >= most:
		return fail(wire.ReasonBusy, "%d programs run already, which is the most", most)
	}
	s.live++
	s.notifyLocked()
	return nil
}

func (s *Server) unreserve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live--
	s.notifyLocked()
}

// start starts what a message asks for, with c as the client, or nil.
func (s *Server) start(m *wire.Run, c *client, who string) (*run, error) {
	if err := s.reserve(); err != nil {
		return nil, err
	}
	r, err := s.startReserved(m, c, who)
	if err != nil {
		s.unreserve()
		return nil, err
	}
	return r, nil
}

func (s *Server) startReserved(m *wire.Run, c *client, who string) (*run, error) {
	cmd, err := prepare(s.policy.Load(), m)
	if err != nil {
		return nil, err
	}
	defer cmd.close()
	d, err := makeFiles(m.Files, m.Terminal, cmd.identity)
	if err != nil {
		return nil, err
	}
	defer d.closeChild()
	r := &run{
		s: s, id: newID(), user: cmd.identity.name, caller: who, command: m.Args, file: cmd.program.path,
		started: time.Now(), detach: m.Detach || m.Background, files: m.Files, io: d, state: stateRunning,
		exited: make(chan struct{}), done: make(chan struct{}), client: c,
	}
	r.log = s.log.With("run", r.id, "who", who, "user", r.user, "program", r.file, "command", shortCommand(m.Args))
	for _, ch := range d.channels {
		if r.detach {
			ch.mode = channelKeeps
		}
	}
	follow, err := s.startProcess(r, cmd, d)
	if err != nil {
		d.close()
		return nil, explain(err, cmd.program.path)
	}
	s.mu.Lock()
	s.runs[r.id] = r
	s.mu.Unlock()
	if c != nil {
		c.tell(&wire.Started{ID: r.id, Pid: int32(r.proc.pid())})
	}
	r.log.Debug("run started", "pid", r.proc.pid())
	r.begin()
	follow(r)
	return r, nil
}

// startProcess starts the program. What it returns has the run follow it.
func (s *Server) startProcess(r *run, c *command, d *descriptors) (func(*run), error) {
	if d.terminal != nil {
		l, follow, err := s.startLed(c, d)
		if err != nil {
			return nil, err
		}
		r.proc = l
		return follow, nil
	}
	files := d.numbers()
	fd := c.program.fd()
	if c.program.script {
		// The interpreter opens the script by this name, so it stays open.
		fd = len(files)
		files = append(files, uintptr(c.program.fd()))
	}
	path, err := s.link(c.program, fd, int(s.execAt.Fd()))
	if err != nil {
		return nil, err
	}
	pid, err := spawn(spawnRequest{
		path: path, args: c.args, umask: c.umask, rlimits: c.rlimits,
		attr: &syscall.ProcAttr{
			Dir: c.dir, Env: c.env, Files: files,
			Sys: &syscall.SysProcAttr{Setsid: true, Credential: c.credential, Pdeathsig: unix.SIGKILL},
		},
	})
	if err != nil {
		return nil, err
	}
	r.proc = &direct{s.watch, pid}
	return func(r *run) { s.watch.add(pid, r.changed) }, nil
}

// ended is called when a run is over. One that lived without a client is
// remembered, for those who wait for it.
func (s *Server) ended(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live--
	s.notifyLocked()
	if !r.detach || s.closed {
		delete(s.runs, r.id)
		return
	}
	time.AfterFunc(keepEnded, func() { s.forget(r.id) })
	var oldest *run
	n := 0
	for _, other := range s.runs {
		select {
		case <-other.done:
			n++
			if oldest == nil || other.started.Before(oldest.started) {
				oldest = other
			}
		default:
		}
	}
	if n > maxEnded {
		delete(s.runs, oldest.id)
	}
}

func (s *Server) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.runs, id)
}

// find returns a run by its id, or by the pid of its program.
func (s *Server) find(id string) (*run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.runs[id]; r != nil {
		return r, nil
	}
	for _, r := range s.runs {
		if strconv.Itoa(r.proc.pid()) == id && r.state != stateEnded {
			return r, nil
		}
	}
	return nil, fail(wire.ReasonNotFound, "there is no run %q", id)
}

func newID() string {
	var b [4]byte
	// It never fails.
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func selfFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// failed returns the message for an error.
func failed(err error) *wire.Failed {
	var f *failure
	if errors.As(err, &f) {
		return &wire.Failed{Reason: f.reason, Text: f.Error()}
	}
	return &wire.Failed{Text: err.Error()}
}
