// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/rexec/relay"
	"github.com/container-offload/offload/udsbridge/session"
)

// Rexec is a daemon's part in running programs across the link: it carries the
// clients of this machine to the peer, and those of the peer to the server of
// this machine, which it starts. Programs that run outlive it.
type Rexec struct {
	server *relay.Launcher // nil without an allow-list
	socket *net.UnixListener
	keep   time.Duration
	log    *slog.Logger
}

// NewRexec listens for clients of this machine. dir is the directory of what the
// daemon keeps, peer the name of the other machine. A server that can't be
// started does not keep the daemon from starting.
func NewRexec(ctx context.Context, cfg config.Rexec, dir, peer string, resume time.Duration, log *slog.Logger) (*Rexec, error) {
	r := &Rexec{keep: resume, log: log}
	if cfg.Allow != "" {
		program, err := cfg.Locate()
		if err != nil {
			return nil, err
		}
		r.server = &relay.Launcher{
			Program: program, Allow: cfg.Allow, Socket: filepath.Join(dir, "rexec-server.sock"), Dir: filepath.Join(dir, "rexec"),
			Peer: peer, Resume: resume, Logger: log,
		}
		c, err := r.server.Connect(ctx)
		if err != nil {
			log.Error("the peer can run nothing here", "error", err)
		} else {
			c.Close()
		}
	}
	var err error
	if r.socket, err = relay.Listen(cfg.Socket); err != nil {
		return nil, fmt.Errorf("listen for rexec: %w", err)
	}
	return r, nil
}

// ServeClients carries the clients of this machine over streams that open opens,
// until ctx ends.
//
// SIGHUP has the allow-list read again meanwhile.
func (r *Rexec) ServeClients(ctx context.Context, open relay.Opener) {
	hups := make(chan os.Signal, 1)
	signal.Notify(hups, unix.SIGHUP)
	defer signal.Stop(hups)
	go func() {
		for {
			select {
			case <-hups:
				r.reload(ctx)
			case <-ctx.Done():
				return
			}
		}
	}()
	if err := relay.Out(ctx, r.socket, open, r.keep, r.log); err != nil {
		r.log.Error("carry clients of rexec", "error", err)
	}
}

// ServePeer carries the peer's clients of a session, if the peer may run
// anything here, until the session ends.
func (r *Rexec) ServePeer(ctx context.Context, sess *session.Session) {
	if r.server != nil {
		relay.In(ctx, sess.Listen(relay.Service), r.server.Connect, r.log)
	}
}

// reload has the allow-list read again.
func (r *Rexec) reload(ctx context.Context) {
	if r.server == nil {
		return
	}
	if err := r.server.Reload(ctx); err != nil {
		r.log.Error("read the allow-list of rexec again", "error", err)
	}
}

// Close stops listening.
func (r *Rexec) Close() { r.socket.Close() }
