// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package rexec_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/rexec/relay"
	"github.com/container-offload/offload/udsbridge/session"
)

// program is the path of rexec, built for the tests.
var program string

// daemonEnv makes this test binary one of the two daemons: "out SOCKET ADDRESS"
// or "in ADDRESS SOCKET".
const daemonEnv = "REXEC_TEST_DAEMON"

func TestMain(m *testing.M) {
	// The race detector would have each program wait for a second in the end.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	if role := os.Getenv(daemonEnv); role != "" {
		if err := daemon(strings.Fields(role)); err != nil {
			fmt.Fprintln(os.Stderr, "daemon:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "rexec-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "rexec")
	build := exec.Command("go", "build", "-o", program, "../cmd/rexec")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if raceEnabled {
		build = exec.Command("go", "build", "-race", "-o", program, "../cmd/rexec")
	}
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build rexec: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// daemon is what the real daemons do for rexec, without all else they do.
func daemon(args []string) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx := context.Background()
	if args[0] == "probe" {
		return probe(args[1])
	}
	if args[0] == "in" {
		return daemonIn(ctx, args[1], args[2], log)
	}
	l, err := relay.Listen(args[1])
	if err != nil {
		return err
	}
	var current *session.Session
	open := func(ctx context.Context) (net.Conn, error) {
		if current == nil || current.Err() != nil {
			s, err := session.Dial(ctx, func(ctx context.Context) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "tcp", args[2])
			}, session.Config{Name: "HOST"})
			if err != nil {
				return nil, err
			}
			current = s
		}
		return current.Open(ctx, relay.Service, nil)
	}
	locked := make(chan struct{}, 1)
	return relay.Out(ctx, l, func(ctx context.Context) (net.Conn, error) {
		locked <- struct{}{}
		defer func() { <-locked }()
		return open(ctx)
	}, time.Minute, log)
}

// probe says what becomes of a connection.
func probe(socket string) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if errors.Is(err, syscall.ECONNRESET) {
		err = nil
	}
	if len(b) == 0 && err == nil {
		fmt.Println("closed")
	}
	return err
}

func daemonIn(ctx context.Context, address, socket string, log *slog.Logger) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	connect := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	acceptor := session.NewAcceptor(session.Config{Name: "DPU"})
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			sess, fresh, err := acceptor.Handle(ctx, c)
			if err == nil && fresh {
				relay.In(ctx, sess.Listen(relay.Service), connect, log)
			}
		}()
	}
}

// everything is an allow-list that allows all.
const everything = `
version = 1
grace = "2s"
[[allow]]
program = "/**"
users = ["root", "*"]
groups = ["*"]
env = ["*", "MINE"]
rlimits = ["*"]
`

// rig is a server with its socket.
type rig struct {
	t      *testing.T
	dir    string
	socket string // of the server
	client string // to which clients connect
	log    string
	server *exec.Cmd
	env    []string // more of clients
}

// newRig starts a server.
func newRig(t *testing.T, allow string) *rig {
	t.Helper()
	r := prepare(t, allow)
	r.client = r.socket
	r.serve("--socket", r.socket)
	r.await("server", func() bool { return reachable(r.socket) })
	return r
}

// prepare makes what a server needs.
func prepare(t *testing.T, allow string) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("an allow-list must belong to root, and this is not root")
	}
	dir := t.TempDir()
	r := &rig{t: t, dir: dir, socket: filepath.Join(dir, "server.sock"), log: filepath.Join(dir, "log")}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "allow.toml"), []byte(allow), 0o600))
	return r
}

// serve starts the server with arguments, which say where it listens.
func (r *rig) serve(args ...string) {
	t := r.t
	t.Helper()
	log, err := os.Create(r.log)
	require.NoError(t, err)
	defer log.Close()
	r.server = exec.Command(program, append([]string{
		"serve", "--allow", filepath.Join(r.dir, "allow.toml"), "--dir", filepath.Join(r.dir, "own"), "--log-level", "debug",
	}, args...)...)
	r.server.Stderr = log
	require.NoError(t, r.server.Start())
	t.Cleanup(func() {
		_ = r.server.Process.Signal(syscall.SIGTERM)
		_ = r.server.Wait()
		b, _ := os.ReadFile(r.log)
		assert.NotContains(t, string(b), "DATA RACE")
		assert.NotContains(t, string(b), "panic")
		if t.Failed() {
			t.Logf("server:\n%s", b)
		}
	})
}

func reachable(socket string) bool {
	c, err := net.Dial("unix", socket)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// await waits for a condition.
func (r *rig) await(what string, ok func() bool) {
	r.t.Helper()
	require.Eventually(r.t, ok, time.Minute, 5*time.Millisecond, what)
}

// start begins a daemon, and returns it. It is killed in the end.
func (r *rig) daemon(role ...string) *exec.Cmd {
	r.t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), daemonEnv+"="+strings.Join(role, " "))
	cmd.Stderr = os.Stderr
	require.NoError(r.t, cmd.Start())
	r.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

// kill ends a daemon at once.
func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// command returns rexec with arguments.
func (r *rig) command(args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env = append(append(os.Environ(), "REXEC_CONNECT=unix://"+r.client), r.env...)
	cmd.WaitDelay = 30 * time.Second
	return cmd
}

// output runs rexec and returns what it printed.
func (r *rig) output(args ...string) (string, error) {
	var out, errOut bytes.Buffer
	cmd := r.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if errOut.Len() > 0 {
		err = errors.Join(err, errors.New(errOut.String()))
	}
	return out.String(), err
}

// must runs rexec, which must end with 0, and returns what it printed.
func (r *rig) must(args ...string) string {
	r.t.Helper()
	out, err := r.output(args...)
	require.NoError(r.t, err)
	return out
}

// status returns how a command ended.
func status(t *testing.T, err error) syscall.WaitStatus {
	t.Helper()
	if err == nil {
		return 0
	}
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	return exit.Sys().(syscall.WaitStatus)
}

// input returns a command's standard input, to be closed by the test.
func input(t *testing.T, cmd *exec.Cmd) io.WriteCloser {
	t.Helper()
	w, err := cmd.StdinPipe()
	require.NoError(t, err)
	return w
}
