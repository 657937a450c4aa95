// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"

	"github.com/containerd/containerd/v2/pkg/sys/reaper"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/resident"
	"github.com/container-offload/offload/shim/launcher"
	"github.com/container-offload/offload/udsbridge/fdpass"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/session"
)

// Run is the life of a HOST half: it waits on its control socket for an
// assignment, becomes that pod's half and serves it until it is shut down. An
// assignment that it can't take, such as one whose peer isn't the DPU, leaves it
// idle. It returns nil if the agent goes away while the half is still idle.
func Run(ctx context.Context, cfg *config.Host, log *slog.Logger) error {
	// Idle halves are many and live long: give memory back early.
	debug.SetGCPercent(40)
	if err := reapChildren(ctx, log); err != nil {
		return err
	}
	security, err := cfg.Security()
	if err != nil {
		return err
	}
	control, err := fileConn(os.NewFile(launcher.ControlFD, "control"))
	if err != nil {
		return fmt.Errorf("open control socket: %w", err)
	}
	defer control.Close()
	idle := resident.New(resident.Idle)
	defer idle.Close()
	for {
		a, f, err := receive(control)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		h, sess, err := take(ctx, cfg, log, a, f, security, idle)
		if replyErr := reply(control, err); replyErr != nil {
			log.Warn("answer the agent", "error", replyErr)
		}
		if err == nil {
			control.Close()
			return h.run(ctx, sess, security)
		}
	}
}

// take makes this process the half that the assignment asks for.
func take(ctx context.Context, cfg *config.Host, log *slog.Logger, a launcher.Assignment, f *os.File, security link.Security, idle *resident.Keeper) (*half, *session.Session, error) {
	target, err := link.ParseTarget(a.Target)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	h := &half{
		cfg: cfg, target: target, dir: a.Dir, noTime: a.NoTime, idle: idle,
		log: log.With("namespace", target.Namespace, "shim", target.ID),
		acceptor: session.NewAcceptor(session.Config{
			Name: "DPU " + a.Peer, ResumeTimeout: cfg.Link.ResumeTimeout.Duration(), Logger: log,
		}),
	}
	sess, _, err := h.accept(ctx, target, f, link.NewHandovers(security, 1))
	if err != nil {
		return nil, nil, err
	}
	if err := h.claim(ctx); err != nil {
		sess.Close()
		return nil, nil, err
	}
	return h, sess, nil
}

// run serves the pod and removes all of it in the end.
func (h *half) run(ctx context.Context, sess *session.Session, security link.Security) error {
	l, err := launcher.ListenIn("unixpacket", h.dir, launcher.SocketName)
	if err != nil {
		sess.Close()
		return errors.Join(fmt.Errorf("listen for handovers: %w", err), h.clean())
	}
	defer l.Close()
	err = h.serve(ctx, sess, func() { h.takeHandovers(ctx, l, security) })
	if last, _ := h.session(); last != nil {
		// Closing waits until the answer to Shutdown has left.
		last.Close()
	}
	return err
}

// receive takes one assignment and its connection from the agent.
func receive(c *net.UnixConn) (launcher.Assignment, *os.File, error) {
	var a launcher.Assignment
	b, files, err := fdpass.Receive(c, launcher.MaxMessage, 1)
	if err != nil {
		return a, nil, fmt.Errorf("receive assignment: %w", err)
	}
	if err := decode(b, &a); err != nil || len(files) != 1 {
		for _, f := range files {
			f.Close()
		}
		return a, nil, fmt.Errorf("receive assignment: %d descriptors, want 1: %w", len(files), err)
	}
	return a, files[0], nil
}

// reapChildren waits for every child, runc's orphans included, and tells
// whoever subscribed.
func reapChildren(ctx context.Context, log *slog.Logger) error {
	if err := reaper.SetSubreaper(1); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	ch := make(chan os.Signal, 32)
	signal.Notify(ch, unix.SIGCHLD)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-ch:
				if err := reaper.Reap(); err != nil {
					log.Error("reap children", "error", err)
				}
			}
		}
	}()
	return nil
}
