// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package launcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/fdpass"
	"github.com/container-offload/offload/udsbridge/link"
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
	Warm   int
	Logger *slog.Logger
}

// Launcher keeps HOST halves ready and passes connections to them. Its methods
// may be called concurrently.
type Launcher struct {
	cfg Config

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
	l := &Launcher{cfg: cfg}
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
		h.control.Close() // tells it to end
		h.wait(l.cfg.Logger)
	}
}

// Dispatch passes an incoming connection to the half of the pod it names. If
// there is none, and the DPU asked for one, an idle half becomes it; if it did
// not ask, Dispatch fails with errdefs.ErrNotFound and in is still the caller's.
func (l *Launcher) Dispatch(ctx context.Context, in *link.Incoming) error {
	dir := PodDir(l.cfg.State, in.Target.Namespace, in.Target.ID)
	a := Assignment{Target: in.Target.String(), Peer: in.Peer, Dir: dir}
	running, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Net: "unixpacket", Name: filepath.Join(dir, SocketName)})
	if err == nil {
		defer running.Close()
		return send(running, a, in)
	}
	if !in.Target.Create {
		return fmt.Errorf("shim %s is not running: %w", in.Target, errdefs.ErrNotFound)
	}
	h, err := l.take()
	if err != nil {
		return err
	}
	go l.refill()
	go h.wait(l.cfg.Logger)
	defer h.control.Close()
	if err := send(h.control, a, in); err != nil {
		return errors.Join(err, h.cmd.Process.Kill())
	}
	return awaitReply(ctx, h.control)
}

// send passes the connection on and gives up this process's hold on it.
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
	return in.Close()
}

func awaitReply(ctx context.Context, c *net.UnixConn) error {
	deadline := time.Now().Add(replyTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := c.SetReadDeadline(deadline); err != nil {
		return fmt.Errorf("await shim: %w", err)
	}
	b, _, err := fdpass.Receive(c, MaxMessage, 0)
	if err != nil {
		return fmt.Errorf("await shim: %w", err)
	}
	var r Reply
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("await shim: decode reply: %w", err)
	}
	if r.Error != "" {
		return fmt.Errorf("start shim: %s", r.Error)
	}
	return nil
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
		l.mu.Lock()
		keep := !l.closed && len(l.idle) < l.cfg.Warm
		if keep {
			l.idle = append(l.idle, h)
		}
		l.mu.Unlock()
		if !keep {
			h.control.Close()
			h.wait(l.cfg.Logger)
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

// wait reaps the process and reports an end that is not its ordinary one.
func (h *idleHalf) wait(log *slog.Logger) {
	if err := h.cmd.Wait(); err != nil {
		log.Warn("shim ended", "pid", h.cmd.Process.Pid, "error", err)
	}
}
