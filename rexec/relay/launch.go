// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/pidfd"
)

const (
	// startTimeout bounds how long a server may take to listen.
	startTimeout = 5 * time.Second
	startPoll    = 5 * time.Millisecond
	// idleTimeout is when a server ends that has nothing to do. The next need
	// starts one of the version that is installed then.
	idleTimeout = 10 * time.Minute
)

// Launcher starts the server of this machine, as a process that outlives the
// daemon. Its methods may be called concurrently.
type Launcher struct {
	// Program is the path of rexec, Allow that of the allow-list.
	Program, Allow string
	// Socket is where the server listens, Dir a directory of its own.
	Socket, Dir string
	// Peer is the name of the other machine in the server's log.
	Peer   string
	Resume time.Duration
	Logger *slog.Logger

	mu sync.Mutex
}

// Connect connects to the server. If there is none, it is started.
func (l *Launcher) Connect(ctx context.Context) (net.Conn, error) {
	c, err := l.dial(ctx)
	if err == nil || !absent(err) {
		return c, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, err := l.dial(ctx); err == nil || !absent(err) {
		return c, err
	}
	return l.start(ctx)
}

// absent reports whether an error says that there is no server.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED)
}

func (l *Launcher) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", l.Socket)
}

func (l *Launcher) start(ctx context.Context) (net.Conn, error) {
	cmd := exec.Command(l.Program, "serve",
		"--socket", l.Socket, "--allow", l.Allow, "--dir", l.Dir, "--peer", l.Peer,
		"--resume-timeout", l.Resume.String(), "--idle", idleTimeout.String())
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the server of rexec: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	for {
		c, err := l.dial(ctx)
		if err == nil || !absent(err) {
			return c, err
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("start the server of rexec: it ended at once: %w", errors.Join(err))
		case <-ctx.Done():
			return nil, fmt.Errorf("start the server of rexec: %w", ctx.Err())
		case <-timeout.C:
			return nil, fmt.Errorf("start the server of rexec: it did not listen within %s", startTimeout)
		case <-time.After(startPoll):
		}
	}
}

// Reload has a server that runs read its allow-list again.
func (l *Launcher) Reload(ctx context.Context) error {
	c, err := l.dial(ctx)
	if err != nil {
		if absent(err) {
			return nil
		}
		return fmt.Errorf("have the server of rexec read its allow-list: %w", err)
	}
	defer c.Close()
	_, pid, err := pidfd.Peer(c.(*net.UnixConn))
	if err == nil {
		err = unix.Kill(pid, unix.SIGHUP)
	}
	if err != nil {
		return fmt.Errorf("have the server of rexec read its allow-list: %w", err)
	}
	return nil
}
