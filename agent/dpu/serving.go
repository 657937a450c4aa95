// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/container-offload/offload/agent"
	"github.com/container-offload/offload/resident"
)

// How a daemon that is asked to end waits for a good moment: until no call and no
// request for a file has been seen for still, for patience at most. The answer to a
// call is often the path of a directory that containerd or dockerd looks at next.
const (
	still    = 300 * time.Millisecond
	lookAt   = 10 * time.Millisecond
	patience = 5 * time.Second
	// finish bounds how long calls may take that are in progress then.
	finish = 15 * time.Second
)

// calls counts those that a server has answered and is answering.
type calls struct {
	begun, running atomic.Int64
	idle           *resident.Keeper
}

func (c *calls) enter() (leave func()) {
	c.begun.Add(1)
	c.running.Add(1)
	return func() {
		c.running.Add(-1)
		c.idle.Worked()
	}
}

func (c *calls) options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			defer c.enter()()
			return next(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			defer c.enter()()
			return next(srv, ss)
		}),
	}
}

// serve answers on l until ctx ends, then finishes what has begun.
func (d *Daemon) serve(ctx context.Context, l net.Listener, about *agent.Serving, register func(grpc.ServiceRegistrar)) error {
	c := calls{idle: resident.New(resident.Idle)}
	defer c.idle.Close()
	server := grpc.NewServer(c.options()...)
	register(server)
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		d.awaitStill(&c)
		kill := time.AfterFunc(finish, server.Stop)
		defer kill.Stop()
		server.GracefulStop()
	})
	stopping := about.Ready()
	defer stopping()
	err := server.Serve(l)
	if !stop() {
		<-ended
	}
	if err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve plugins on %s: %w", d.cfg.Plugins.Socket, err)
	}
	return nil
}

// awaitStill waits for a moment in which nobody is in the middle of something.
func (d *Daemon) awaitStill(c *calls) {
	deadline := time.Now().Add(patience)
	since, seen := time.Now(), int64(-1)
	for now := since; now.Before(deadline); now = time.Now() {
		requests, running := d.mounts.activity()
		if n := requests + c.begun.Load(); n != seen || running || c.running.Load() > 0 {
			since, seen = now, n
		}
		if now.Sub(since) >= still {
			return
		}
		time.Sleep(lookAt)
	}
}

// activity counts the requests for files of the mounts, and tells whether one is
// being answered.
func (ms *mounts) activity() (requests int64, running bool) {
	for _, m := range ms.list() {
		m.mu.Lock()
		f := m.fs
		m.mu.Unlock()
		if f == nil {
			continue
		}
		st := f.Stats()
		requests += int64(st.Requests)
		running = running || st.InFlight > 0
	}
	return requests, running
}

// pluginListener is the socket of the configuration: the one that the service
// manager listens on, or a new one. The others that were handed over are closed.
func pluginListener(path string, handed []net.Listener, log *slog.Logger) (net.Listener, error) {
	var found net.Listener
	for _, l := range handed {
		if found == nil && l.Addr().Network() == "unix" && l.Addr().String() == path {
			found = l
			continue
		}
		log.Warn("the service manager listens where nothing is served: its unit and plugins.socket do not agree",
			"listens", l.Addr().String(), "plugins.socket", path)
		l.Close()
	}
	if found != nil {
		return found, nil
	}
	return listen(path)
}

// listen makes a socket at path, in place of one that a dead process left.
func listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, fmt.Errorf("make directory of the plugin socket: %w", err)
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("plugin socket %s is served by another process", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove stale plugin socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for containerd: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("protect plugin socket: %w", err)
	}
	return l, nil
}
