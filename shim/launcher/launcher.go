// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/fdpass"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/pidfd"
)

// replyTimeout bounds how long a half takes to accept an assignment, the
// handshake with the DPU included.
const replyTimeout = 15 * time.Second

// Config says how to start HOST halves.
type Config struct {
	// Binary is the HOST half's executable, Env its environment.
	Binary string
	Env    []string
	// Runc is the OCI runtime: a path, or a name to be found in PATH.
	Runc string
	// State is the directory below which each pod has its own.
	State string
	// Warm is the number of halves kept ready.
	Warm int
	// Patience is how long a connection may take to prove whose it is while others
	// wait to. Default 5 seconds.
	Patience time.Duration
	Logger   *slog.Logger
}

// Launcher keeps HOST halves ready and passes connections to them. Its methods
// may be called concurrently.
type Launcher struct {
	cfg      Config
	unproven *unproven
	noTime   func() bool // asks the runtime once

	mu     sync.Mutex
	idle   []*idleHalf
	closed bool
}

// idleHalf is a process that waits for an assignment.
type idleHalf struct {
	cmd     *exec.Cmd
	control *net.UnixConn
}

// New returns a launcher with its first halves started. It fails if the binary
// can't be run.
func New(cfg Config) (*Launcher, error) {
	if err := os.MkdirAll(cfg.State, 0o711); err != nil {
		return nil, fmt.Errorf("make shim state directory: %w", err)
	}
	l := &Launcher{cfg: cfg, unproven: newUnproven(cmp.Or(cfg.Patience, 5*time.Second))}
	l.noTime = sync.OnceValue(func() bool { return lacksTime(cfg.Runc, cfg.Logger) })
	for range cfg.Warm {
		h, err := l.start()
		if err != nil {
			l.Close()
			return nil, err
		}
		l.idle = append(l.idle, h)
	}
	return l, nil
}

// Close ends the idle halves. Those that have a pod live on.
func (l *Launcher) Close() {
	l.mu.Lock()
	idle := l.idle
	l.idle, l.closed = nil, true
	l.mu.Unlock()
	for _, h := range idle {
		h.end(l.cfg.Logger)
	}
}

// Dispatch passes an incoming connection to the half of the pod it names. If
// there is none, and the DPU asked for one, an idle half becomes it; if it did
// not ask, Dispatch fails with errdefs.ErrNotFound. in remains the caller's.
//
// Who has asked shows when the half has done TLS. A half that finds out that it
// wasn't the DPU stays idle, and only so many do that at a time.
func (l *Launcher) Dispatch(ctx context.Context, in *link.Incoming) error {
	dir := PodDir(l.cfg.State, in.Target.Namespace, in.Target.ID)
	a := Assignment{Target: in.Target.String(), Peer: in.Peer, Dir: dir}
	running, err := DialIn("unixpacket", dir, SocketName)
	if err == nil {
		defer running.Close()
		if err := send(running, a, in); err != nil {
			return err
		}
		return in.Close()
	}
	if !in.Target.Create {
		return fmt.Errorf("shim %s is not running: %w", in.Target, errdefs.ErrNotFound)
	}
	leave, err := l.unproven.enter(ctx, in)
	if err != nil {
		return err
	}
	defer leave()
	a.NoTime = l.noTime()
	return l.create(ctx, a, in)
}

// create makes an idle half the pod's.
func (l *Launcher) create(ctx context.Context, a Assignment, in *link.Incoming) error {
	h, err := l.take()
	if err != nil {
		return err
	}
	var r Reply
	if err = send(h.control, a, in); err == nil {
		r, err = awaitReply(ctx, h.control)
	}
	switch {
	case err != nil:
		// What it does is unknown.
		err = errors.Join(err, h.cmd.Process.Kill())
		go h.end(l.cfg.Logger)
	case r.Error != "":
		err = fmt.Errorf("start shim: %s", r.Error)
		l.giveBack(h)
		return err
	default:
		h.control.Close()
		go h.wait(l.cfg.Logger)
	}
	go l.refill()
	return err
}

// send passes the connection on.
func send(c *net.UnixConn, a Assignment, in *link.Incoming) error {
	b, err := Encode(a)
	if err != nil {
		return err
	}
	f, err := in.File()
	if err != nil {
		return fmt.Errorf("hand over connection of %s: %w", in.Peer, err)
	}
	defer f.Close()
	if err := fdpass.Send(c, b, f); err != nil {
		return fmt.Errorf("hand over connection of %s: %w", in.Peer, err)
	}
	return nil
}

// awaitReply returns what a half makes of its assignment.
func awaitReply(ctx context.Context, c *net.UnixConn) (r Reply, err error) {
	deadline := time.Now().Add(replyTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := c.SetReadDeadline(deadline); err != nil {
		return r, fmt.Errorf("await shim: %w", err)
	}
	b, _, err := fdpass.Receive(c, MaxMessage, 0)
	if err != nil {
		return r, fmt.Errorf("await shim: %w", err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("await shim: decode reply: %w", err)
	}
	return r, nil
}

// take returns an idle half, one that is ready if there is one.
func (l *Launcher) take() (*idleHalf, error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, fmt.Errorf("start shim: launcher is closed: %w", errdefs.ErrUnavailable)
	}
	if n := len(l.idle); n > 0 {
		h := l.idle[0]
		l.idle = l.idle[1:]
		l.mu.Unlock()
		return h, nil
	}
	l.mu.Unlock()
	return l.start()
}

// giveBack keeps a half that is idle again, or ends it if there are enough.
func (l *Launcher) giveBack(h *idleHalf) {
	if !l.keep(h) {
		go h.end(l.cfg.Logger)
	}
}

// keep puts a half among the idle ones and reports whether it is needed there.
func (l *Launcher) keep(h *idleHalf) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.idle) >= l.cfg.Warm {
		return false
	}
	l.idle = append(l.idle, h)
	return true
}

// refill starts halves until the configured number is ready.
func (l *Launcher) refill() {
	for {
		l.mu.Lock()
		enough := l.closed || len(l.idle) >= l.cfg.Warm
		l.mu.Unlock()
		if enough {
			return
		}
		h, err := l.start()
		if err != nil {
			l.cfg.Logger.Error("keep a shim ready", "error", err)
			return
		}
		if !l.keep(h) {
			h.end(l.cfg.Logger)
		}
	}
}

// start runs a half. It leads a session of its own: what ends the agent does
// not end it.
func (l *Launcher) start() (*idleHalf, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("start shim: make control socket: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	defer ours.Close()
	defer theirs.Close()
	c, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("start shim: make control socket: %w", err)
	}
	cmd := exec.Command(l.cfg.Binary)
	cmd.Env = append(os.Environ(), l.cfg.Env...)
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		c.Close()
		return nil, fmt.Errorf("start shim: %w", err)
	}
	return &idleHalf{cmd: cmd, control: c.(*net.UnixConn)}, nil
}

// end tells an idle half to end and waits until it has.
func (h *idleHalf) end(log *slog.Logger) {
	h.control.Close()
	h.wait(log)
}

// wait reaps the process and reports an end that is not its ordinary one.
func (h *idleHalf) wait(log *slog.Logger) {
	// A half may live for months: meanwhile no thread waits for it.
	if p, err := pidfd.Open(h.cmd.Process.Pid); err == nil {
		p.Wait(nil)
		p.Close()
	}
	if err := h.cmd.Wait(); err != nil {
		log.Warn("shim ended", "pid", h.cmd.Process.Pid, "error", err)
	}
}
