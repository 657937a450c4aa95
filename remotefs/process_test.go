// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package remotefs_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/client"
	"github.com/container-offload/offload/remotefs/server"
)

// roleVariable makes the test binary a server or a client of its own.
const roleVariable = "REMOTEFS_TEST_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(roleVariable) {
	case "server":
		err = serveProcess(os.Args[1], os.Args[2])
	case "client":
		err = mountProcess(os.Args[1], os.Args[2], os.Args[3])
	default:
		os.Exit(m.Run())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func serveProcess(socket, dir string) error {
	s := server.New(server.Options{})
	if err := s.Add(server.Export{Name: "x", Path: dir, CrossMounts: true}); err != nil {
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() { _ = s.Serve(context.Background(), c) }()
	}
}

func dialUnix(socket string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
}

var caches = map[string]client.Cache{"auto": client.CacheAuto, "none": client.CacheNone, "always": client.CacheAlways}

func mountProcess(socket, dir, cache string) error {
	opts := client.Options{Source: "host:/x", Export: "x", Cache: caches[cache]}
	m, err := client.Mount(context.Background(), dialUnix(socket), dir, opts)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	<-m.Done()
	return m.Err()
}

// start runs the test binary in a role until the test ends.
func start(t *testing.T, role string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, "%s did not start", role)
	require.Equal(t, "ready\n", line)
	return cmd
}

// apart is pair with a server and a client that are processes of their own. Tests
// that map files need them: a page fault holds up the Go runtime, which must not
// be the one that the fault waits for.
func apart(t *testing.T, cache string) (far, near string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	near, far = t.TempDir(), t.TempDir()
	socket := filepath.Join(t.TempDir(), "s")
	start(t, "server", socket, near)
	start(t, "client", socket, far, cache)
	t.Cleanup(func() { _ = unix.Unmount(far, unix.MNT_DETACH) })
	return far, near
}

// TestKilledClient mounts again where the client was killed.
func TestKilledClient(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	near, far := t.TempDir(), t.TempDir()
	write(t, filepath.Join(near, "f"), "x")
	socket := filepath.Join(t.TempDir(), "s")
	start(t, "server", socket, near)
	for range 3 {
		c := start(t, "client", socket, far, "auto")
		require.Equal(t, "x", read(t, filepath.Join(far, "f")))
		require.NoError(t, c.Process.Kill())
		_ = c.Wait()
		_, err := os.ReadDir(far)
		require.ErrorIs(t, err, unix.ENOTCONN)
	}
	m, err := client.Mount(context.Background(), dialUnix(socket), far, client.Options{Export: "x"})
	require.NoError(t, err)
	require.Equal(t, "x", read(t, filepath.Join(far, "f")))
	unmount(t, m)
	names, err := os.ReadDir(far)
	require.NoError(t, err, "a mount is left")
	require.Empty(t, names)
}

// TestKilledServer fails whatever is under way with EIO.
func TestKilledServer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	near, far := t.TempDir(), t.TempDir()
	write(t, filepath.Join(near, "f"), "x")
	socket := filepath.Join(t.TempDir(), "s")
	s := start(t, "server", socket, near)
	m, err := client.Mount(context.Background(), dialUnix(socket), far, client.Options{Export: "x"})
	require.NoError(t, err)
	f, err := os.OpenFile(filepath.Join(far, "f"), os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, s.Process.Signal(unix.SIGSTOP))
	require.Eventually(t, func() bool { return stopped(t, s.Process.Pid) }, 10*time.Second, time.Millisecond)
	failed := make(chan error, 1)
	go func() {
		_, err := os.Stat(filepath.Join(far, "nothing"))
		failed <- err
	}()
	select {
	case err := <-failed:
		t.Fatalf("a stopped server answered: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	require.NoError(t, s.Process.Kill())
	require.ErrorIs(t, <-failed, unix.EIO)
	<-m.Done()
	require.Error(t, m.Err())
	_, err = f.WriteAt([]byte("y"), 0)
	require.ErrorIs(t, err, unix.EIO)
	f.Close()
	unmount(t, m)
	require.NoError(t, m.Unmount(context.Background()), "twice is once")
	names, err := os.ReadDir(far)
	require.NoError(t, err)
	require.Empty(t, names)
}

// stopped reports whether each thread of a process is.
func stopped(t *testing.T, pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	require.NoError(t, err)
	for _, thread := range threads {
		if status, err := os.ReadFile(thread); err == nil && !strings.Contains(string(status), "State:\tT") {
			return false
		}
	}
	return true
}

// TestUnmountedByAnother ends the mount as its own Unmount does.
func TestUnmountedByAnother(t *testing.T) {
	far, _ := pair(t, server.Export{}, client.Options{})
	s := server.New(server.Options{})
	require.NoError(t, s.Add(server.Export{Name: "y", Path: far}))
	dir := t.TempDir()
	m, err := client.Mount(context.Background(), serve(t, s), dir, client.Options{Export: "y"})
	require.NoError(t, err)
	require.NoError(t, unix.Unmount(dir, 0))
	select {
	case <-m.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the mount does not know that it is gone")
	}
	require.NoError(t, m.Err())
	unmount(t, m)
}
