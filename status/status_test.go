// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"context"
	"errors"
	"io"
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
	go func() { done <- status.Serve(ctx, l, status.Handler(provide, nil)) }()
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
			Peer: "HOST", Address: "tcp://10.0.0.2:7400", State: status.LinkUp, Since: started,
			Security: "mutual TLS", Streams: 3, BytesIn: 1, BytesOut: 2,
		}},
		Mounts:  []status.Mount{{Source: "host:/run/offload/tree", Target: "/run/offload/host", Type: "fuse.remotefs"}},
		Shims:   []status.Shim{{Namespace: "moby", ID: "a", PID: 8, Started: started, State: "running"}},
		Shadows: []status.Shadow{}, Problems: []string{"no runc"},
		Store: &status.Store{Root: "/var/lib/offload", Committed: 3, FreeBytes: 1 << 40},
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
	assert.EqualError(t, err, "ask for status on "+failing+": no links table")

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
	handler := status.Handler(func(context.Context) (*status.Report, error) { return &status.Report{}, nil }, nil)
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, status.Path, http.StatusOK},
		{http.MethodPost, status.Path, http.StatusMethodNotAllowed},
		{http.MethodGet, "/", http.StatusNotFound},
		{http.MethodGet, status.PeerPath, http.StatusNotFound},
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

// What the other machine says can't reach a terminal as it is.
func TestFetchCleans(t *testing.T) {
	socket := serve(t, func(context.Context) (*status.Report, error) {
		return &status.Report{
			Daemon: "offload-host", Problems: []string{"\x1b[2Jgone\nnext", strings.Repeat("x", 5000)},
			Links: []status.Link{{Error: "a\rb"}}, Store: &status.Store{Root: "/\xff"},
		}, nil
	})
	dial := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	got, err := status.Fetch(t.Context(), dial)
	require.NoError(t, err)
	assert.Equal(t, " [2Jgone next", got.Problems[0])
	assert.Len(t, got.Problems[1], 1024)
	assert.Equal(t, "a b", got.Links[0].Error)
	assert.NotContains(t, got.Store.Root, "\xff")
}

func TestMetrics(t *testing.T) {
	report := status.Report{
		Daemon: "offload-host", Version: `v"1\`, Started: time.Unix(7, 0), Problems: []string{"x"},
		Links:  []status.Link{{Address: "tcp://h:1", State: status.LinkUp, BytesIn: 5}},
		Mounts: []status.Mount{{Target: "/m", Mounted: true, Traffic: status.Traffic{Requests: 9}}},
		Shims:  []status.Shim{{State: status.ShimWarm}, {State: status.ShimRunning}, {State: status.ShimRunning}},
		Store:  &status.Store{Committed: 4, FreeBytes: 1024},
	}
	server := httptest.NewServer(status.MetricsHandler(func(context.Context) (*status.Report, error) { return &report, nil }))
	defer server.Close()
	response, err := http.Get(server.URL + status.MetricsPath)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	for _, want := range []string{
		`offload_info{daemon="offload-host",version="v\"1\\"} 1`,
		"offload_start_time_seconds 7\n",
		"# TYPE offload_link_received_bytes_total counter\noffload_link_received_bytes_total{address=\"tcp://h:1\"} 5\n",
		`offload_mount_requests_total{mountpoint="/m"} 9`,
		`offload_shims{state="running"} 2`,
		`offload_shims{state="dead"} 0`,
		`offload_snapshots{kind="committed"} 4`,
		"offload_store_free_bytes 1024\n",
		"offload_problems 1\n",
	} {
		assert.Contains(t, string(body), want)
	}
	assert.NotContains(t, string(body), "offload_shadows", "the HOST has none")
}
