// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"

	"github.com/container-offload/offload/status"
)

// Serving is what a daemon offers about itself: its status socket, its metrics
// and the word to the service manager.
type Serving struct {
	status, metrics net.Listener
	log             *slog.Logger
}

// Listen makes the status socket in the daemon's state directory and, unless
// metrics is empty, listens on that address. Close undoes it.
func Listen(ctx context.Context, stateDir, metrics string, log *slog.Logger) (*Serving, error) {
	s := &Serving{log: log}
	var err error
	if s.status, err = status.Listen(filepath.Join(stateDir, status.SocketName)); err != nil {
		return nil, err
	}
	if metrics == "" {
		return s, nil
	}
	var lc net.ListenConfig
	if s.metrics, err = lc.Listen(ctx, "tcp", metrics); err != nil {
		s.status.Close()
		return nil, fmt.Errorf("listen for Prometheus: %w", err)
	}
	return s, nil
}

// Serve answers until ctx ends.
func (s *Serving) Serve(ctx context.Context, handler http.Handler, self status.Provider) {
	go s.serve(ctx, s.status, handler)
	if s.metrics != nil {
		go s.serve(ctx, s.metrics, status.MetricsHandler(self))
	}
}

func (s *Serving) serve(ctx context.Context, l net.Listener, handler http.Handler) {
	if err := status.Serve(ctx, l, handler); err != nil {
		s.log.Error("serve status", "error", err)
	}
}

// Ready tells the service manager that the daemon does its work. The returned
// function tells it that the daemon is about to end.
func (s *Serving) Ready() (stopping func()) {
	s.notify(status.Ready)
	return func() { s.notify(status.Stopping) }
}

func (s *Serving) notify(state string) {
	if err := status.Notify(state); err != nil {
		s.log.Warn("tell the service manager", "error", err)
	}
}

// Close takes the status socket and the address of the metrics back.
func (s *Serving) Close() {
	s.status.Close()
	if s.metrics != nil {
		s.metrics.Close()
	}
}
