// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/container-offload/offload/agent"
	"github.com/container-offload/offload/agent/dpu"
)

// asHanded is the environment variable that makes this program tell which sockets
// it was handed.
const asHanded = "OFFLOAD_TEST_AS_HANDED"

// tellHanded prints what a service manager's child finds.
func tellHanded() int {
	sockets, err := agent.Handed()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for _, l := range sockets {
		fmt.Println(l.Addr())
	}
	fmt.Printf("%q %q\n", os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"))
	return 0
}

// listenUnix returns a socket as a service manager has it.
func listenUnix(t *testing.T, path string) *os.File {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	file, err := l.File()
	require.NoError(t, err)
	t.Cleanup(func() { file.Close() })
	require.NoError(t, l.Close())
	return file
}

func TestHanded(t *testing.T) {
	dir := t.TempDir()
	one, two := listenUnix(t, dir+"/one"), listenUnix(t, dir+"/two")
	plain, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer plain.Close()
	for name, c := range map[string]struct {
		pid, count string
		files      []*os.File
		want       string
	}{
		"two":             {"$$", "2", []*os.File{one, two}, dir + "/one\n" + dir + "/two\n\"\" \"\"\n"},
		"none":            {"", "", nil, "\"\" \"\"\n"},
		"another's":       {"1", "1", []*os.File{one}, "\"\" \"\"\n"},
		"not a number":    {"$$", "x", nil, "the service manager hands \"x\" sockets over, not 0 to 64\n"},
		"too many":        {"$$", "65", nil, "the service manager hands \"65\" sockets over, not 0 to 64\n"},
		"not a socket":    {"$$", "1", []*os.File{plain}, "take the service manager's socket 3: file file+net handed: getsockopt: socket operation on non-socket\n"},
		"fewer than said": {"$$", "40", []*os.File{one}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			self, err := os.Executable()
			require.NoError(t, err)
			cmd := exec.CommandContext(t.Context(), "sh", "-c", `LISTEN_PID=`+c.pid+` exec "$0"`, self)
			cmd.Env = append(os.Environ(), asHanded+"=1", "LISTEN_FDS="+c.count)
			cmd.ExtraFiles = c.files
			out, err := cmd.CombinedOutput()
			if c.want == "" {
				assert.Error(t, err, "%s", out)
				return
			}
			assert.Equal(t, c.want, string(out))
		})
	}
}

// dialPlugins connects as containerd does: a call fails at once while there is no
// connection and none is being made.
func dialPlugins(t *testing.T, socket string) snapshotsapi.SnapshotsClient {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: patience}))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return snapshotsapi.NewSnapshotsClient(conn)
}

// TestRestartUnseen holds that containerd, which calls all the time, sees no call
// fail while the daemon is started anew on a socket that somebody else holds.
func TestRestartUnseen(t *testing.T) {
	p := newPair(t, "")
	p.runHost(t)
	socket := filepath.Join(p.dir, "plugins.sock")
	held := listenUnix(t, socket)
	start := func() (stop func()) {
		l, err := net.FileListener(held)
		require.NoError(t, err)
		return run(t, func(ctx context.Context) error {
			return dpu.Run(ctx, p.dpu, []net.Listener{l}, slog.New(slog.DiscardHandler))
		})
	}
	stop := start()
	client := dialPlugins(t, socket)
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(t.Context(), "test"), 3*patience)
	defer cancel()
	const callers, restarts = 4, 1
	calls := make(chan error)
	done := make(chan struct{})
	for range callers {
		go func() {
			for {
				_, err := client.Usage(ctx, &snapshotsapi.UsageRequest{Snapshotter: "offload", Key: "none"})
				select {
				case calls <- err:
				case <-done:
					return
				}
			}
		}()
	}
	defer close(done)
	// answered takes the answers of some calls, which say that there is no such snapshot.
	answered := func(n int) {
		for range n {
			require.ErrorContains(t, <-calls, "NotFound")
		}
	}
	for range restarts {
		answered(20 * callers)
		stopped := make(chan struct{})
		go func() { defer close(stopped); stop() }()
		for ended := false; !ended; {
			select {
			case <-stopped:
				ended = true
			case err := <-calls:
				require.ErrorContains(t, err, "NotFound")
			}
		}
		stop = start()
	}
	answered(20 * callers)
}

// TestOtherSocketHanded holds that a daemon serves where its configuration says,
// whatever it is handed.
func TestOtherSocketHanded(t *testing.T) {
	p := newPair(t, "")
	p.runHost(t)
	l, err := net.FileListener(listenUnix(t, p.dir+"/other.sock"))
	require.NoError(t, err)
	run(t, func(ctx context.Context) error {
		return dpu.Run(ctx, p.dpu, []net.Listener{l}, slog.New(slog.DiscardHandler))
	})
	p.report(t, up)
	require.Eventually(t, func() bool {
		c, err := net.Dial("unix", p.dir+"/plugins.sock")
		if err == nil {
			c.Close()
		}
		return err == nil
	}, patience, 10*time.Millisecond)
}
