// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/status"
)

// serve serves reports on a new socket until the test ends.
func serve(t *testing.T, provide status.Provider) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "state", status.SocketName)
	l, err := status.Listen(socket)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- status.Serve(ctx, l, provide) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-done)
	})
	return socket
}

func TestGet(t *testing.T) {
	started := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	want := status.Report{
		Daemon: "offload-dpu", Version: "v1", PID: 7, Started: started,
		Links: []status.Link{{
			Target: "agent", Address: "tcp://10.0.0.2:7400", State: status.LinkUp, Since: started,
			Security: "mutual TLS", RoundTrip: 300 * time.Microsecond, BytesIn: 1, BytesOut: 2,
		}},
		Streams: []status.Stream{{Link: "agent", ID: 3, Service: "snapshots", Opened: started}},
		Mounts:  []status.Mount{{Source: "host:/run/offload/tree", Target: "/run/offload/host", Type: "fuse.remotefs"}},
		Shims:   []status.Shim{{Namespace: "moby", ID: "a", PID: 8, Started: started, State: "running"}},
		Shadows: []status.Shadow{},
	}
	given := want
	given.Shadows = nil
	socket := serve(t, func(context.Context) (*status.Report, error) { return &given, nil })

	info, err := os.Stat(socket)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	got, err := status.Get(t.Context(), socket)
	require.NoError(t, err)
	assert.Equal(t, &want, got)
	assert.Nil(t, given.Shadows, "the provider's report was changed")
}

func TestGetErrors(t *testing.T) {
	failing := serve(t, func(context.Context) (*status.Report, error) { return nil, errors.New("no links table") })
	_, err := status.Get(t.Context(), failing)
	assert.EqualError(t, err, "ask for status on "+failing+": 500 Internal Server Error: no links table")

	missing := filepath.Join(t.TempDir(), "s")
	_, err = status.Get(t.Context(), missing)
	assert.EqualError(t, err, "ask for status on "+missing+": the daemon is not running: dial unix "+missing+": connect: no such file or directory")

	dead := deadSocket(t)
	_, err = status.Get(t.Context(), dead)
	assert.ErrorContains(t, err, "the daemon is not running")
}

func TestGetStopsWithItsContext(t *testing.T) {
	asked := make(chan struct{})
	socket := serve(t, func(ctx context.Context) (*status.Report, error) {
		close(asked)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	_, err := status.Get(ctx, socket)
	assert.ErrorIs(t, err, context.Canceled)
}

func TestHandlerRefuses(t *testing.T) {
	handler := status.Handler(func(context.Context) (*status.Report, error) { return &status.Report{}, nil })
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, status.Path, http.StatusOK},
		{http.MethodPost, status.Path, http.StatusMethodNotAllowed},
		{http.MethodGet, "/", http.StatusNotFound},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		assert.Equal(t, c.want, w.Code, "%s %s", c.method, c.path)
	}
}

// deadSocket leaves a socket behind that nobody listens on.
func deadSocket(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	return path
}

func TestListen(t *testing.T) {
	dead := deadSocket(t)
	l, err := status.Listen(dead)
	require.NoError(t, err, "a dead daemon's socket must be replaced")
	defer l.Close()

	_, err = status.Listen(dead)
	assert.EqualError(t, err, "make status socket: "+dead+": another daemon listens on it")

	file := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = status.Listen(file)
	assert.EqualError(t, err, "make status socket: "+file+" is there and not a socket")

	_, err = status.Listen(filepath.Join(t.TempDir(), strings.Repeat("x", 120)))
	assert.Error(t, err)
}

func TestNotify(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	require.NoError(t, status.Notify(status.Ready), "there is nobody to tell")

	path := filepath.Join(t.TempDir(), "n")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	require.NoError(t, status.Notify(status.Ready))
	buf := make([]byte, 64)
	n, err := l.Read(buf)
	require.NoError(t, err)
	assert.Equal(t, status.Ready, string(buf[:n]))

	t.Setenv("NOTIFY_SOCKET", path+"-gone")
	assert.ErrorContains(t, status.Notify(status.Ready), "notify the service manager: ")
}
