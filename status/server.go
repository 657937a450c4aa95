// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Paths on a status socket.
const (
	// Path is the path of the daemon's report.
	Path = "/v1/status"
	// PeerPath is the path of the report of the daemon on the other machine.
	PeerPath = "/v1/peer"
	// MountsPath is the path of the mounts of the DPU's daemon, which answers
	// there itself: PUT adds one, DELETE with the parameter "mountpoint" removes
	// one.
	MountsPath = "/v1/mounts"
	// BridgePath is the path of the socket bridge of a daemon, which answers there
	// itself: GET tells its rules and what has become of them, PUT adds a rule,
	// DELETE with the parameter "path" removes one, and POST with it tries one.
	BridgePath = "/v1/bridge"
)

// Service is the service of the agent's session by which the DPU asks for the
// HOST's report.
const Service = "status"

// SocketName is the usual name of a status socket in a daemon's state
// directory.
const SocketName = "status.sock"

// Provider makes a report. It may be called concurrently.
type Provider func(context.Context) (*Report, error)

// Handler answers requests for reports, which the providers make: self the
// daemon's own, and peer, which may be nil, that of the other machine's.
func Handler(self, peer Provider) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET "+Path, reporting(self))
	if peer != nil {
		mux.Handle("GET "+PeerPath, reporting(peer))
	}
	return mux
}

func reporting(provide Provider) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		report, err := provide(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		// The only error there can be is that the client has gone.
		_ = json.NewEncoder(w).Encode(report.normal())
	}
}

// normal returns the report with empty lists instead of none, so that a client
// need not tell them apart.
func (r *Report) normal() *Report {
	out := *r
	out.Links = append([]Link{}, r.Links...)
	out.Mounts = append([]Mount{}, r.Mounts...)
	out.Shims = append([]Shim{}, r.Shims...)
	out.Shadows = append([]Shadow{}, r.Shadows...)
	out.Problems = append([]string{}, r.Problems...)
	return &out
}

// requestTimeout bounds how long a client may take to ask, so that one that
// does not ask costs nothing.
const requestTimeout = 10 * time.Second

// Serve answers requests on l until ctx is done, then closes l and returns nil.
// It returns early with an error if l fails.
func Serve(ctx context.Context, l net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: requestTimeout,
		ReadTimeout:       requestTimeout,
		IdleTimeout:       requestTimeout,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serve status: %w", err)
	}
	return nil
}

// Listen makes the socket at path, with its directory, for root alone. A socket
// that a dead daemon left there is replaced; that of a live one is an error.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make status socket: %w", err)
	}
	if err := removeDead(path); err != nil {
		return nil, fmt.Errorf("make status socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("make status socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("make status socket: %w", err)
	}
	return l, nil
}

// removeDead removes the socket at path if nobody listens on it.
func removeDead(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and not a socket", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
		return fmt.Errorf("%s: another daemon listens on it", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
