// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
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
	"golang.org/x/sys/unix"
)

// binary is the program, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "ub")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "udsbridge")
	cmd := exec.Command("go", "build", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		os.Stderr.Write(out)
		return 1
	}
	return m.Run()
}

// joined is two running programs with a TCP link between them.
type joined struct {
	t                   *testing.T
	dir, here, there    string
	addr                string
	serving, connecting *exec.Cmd
}

func newBridge(t *testing.T) *joined {
	t.Helper()
	dir, err := os.MkdirTemp("", "ub")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b := &joined{t: t, dir: dir, here: filepath.Join(dir, "here"), there: filepath.Join(dir, "there"), addr: l.Addr().String()}
	l.Close()
	require.NoError(t, os.Mkdir(b.there, 0o755))
	b.startServing()
	b.startConnecting()
	return b
}

func (b *joined) startServing() {
	b.serving = b.start("tcp://"+b.addr, "-", "--serve", b.there, "--insecure", "--runtime", filepath.Join(b.dir, "r1"))
}

func (b *joined) startConnecting() {
	b.connecting = b.start("-", "tcp://"+b.addr, "--allow", b.here+"="+b.there, "--insecure", "--runtime", filepath.Join(b.dir, "r2"))
}

func (b *joined) start(args ...string) *exec.Cmd {
	b.t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Stderr = b.t.Output()
	require.NoError(b.t, cmd.Start())
	b.t.Cleanup(func() { stop(b.t, cmd) })
	return cmd
}

// stop ends a program, if it still runs, and waits for it.
func stop(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if cmd.ProcessState != nil {
		return
	}
	_ = cmd.Process.Signal(unix.SIGTERM)
	killed := time.AfterFunc(20*time.Second, func() {
		t.Errorf("%s does not end", cmd)
		_ = cmd.Process.Kill()
	})
	_ = cmd.Wait()
	killed.Stop()
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
}

func eventually(t *testing.T, f func() bool, what string) {
	t.Helper()
	require.Eventually(t, f, 30*time.Second, 20*time.Millisecond, what)
}

// await waits until a connection to the mirror reaches a program.
func (b *joined) await(name string) string {
	b.t.Helper()
	path := filepath.Join(b.here, name)
	eventually(b.t, func() bool {
		c, err := net.Dial("unix", path)
		if err != nil {
			return false
		}
		return c.Close() == nil
	}, "mirror of "+name)
	return path
}

// tool returns the path of a program, or skips the test.
func tool(t *testing.T, name string, dirs ...string) string {
	t.Helper()
	for _, d := range dirs {
		found, err := filepath.Glob(filepath.Join(d, name))
		require.NoError(t, err)
		if len(found) > 0 {
			return found[len(found)-1]
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s: %s", cmd, out)
	return string(out)
}

func TestRedis(t *testing.T) {
	server, client, load := tool(t, "redis-server"), tool(t, "redis-cli"), tool(t, "redis-benchmark")
	b := newBridge(t)
	cmd := exec.Command(server, "--port", "0", "--unixsocket", filepath.Join(b.there, "redis"), "--save", "", "--dir", b.dir)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { stop(t, cmd) })
	sock := b.await("redis")
	assert.Equal(t, "PONG\n", output(t, exec.Command(client, "-s", sock, "ping")))
	big := strings.Repeat("0123456789abcdef", 1<<18) // 4 MiB
	set := exec.Command(client, "-s", sock, "-x", "set", "big")
	set.Stdin = strings.NewReader(big)
	assert.Equal(t, "OK\n", output(t, set))
	assert.Equal(t, big+"\n", output(t, exec.Command(client, "-s", sock, "get", "big")))
	out := output(t, exec.Command(load, "-s", sock, "-n", "20000", "-c", "50", "-P", "4", "-q", "-t", "set,get"))
	assert.Contains(t, out, "requests per second")
}

func TestPostgreSQL(t *testing.T) {
	const dirs = "/usr/lib/postgresql/*/bin"
	initdb, server := tool(t, "initdb", dirs), tool(t, "postgres", dirs)
	psql, load := tool(t, "psql", dirs), tool(t, "pgbench", dirs)
	b := newBridge(t)
	// It doesn't run as root; and by "peer" it takes the bridge's word for who
	// connects.
	require.NoError(t, os.Chown(b.there, 65534, 65534))
	data := filepath.Join(b.dir, "data")
	require.NoError(t, os.Mkdir(data, 0o700))
	require.NoError(t, os.Chown(data, 65534, 65534))
	as := func(uid uint32, name string, args ...string) *exec.Cmd {
		cmd := exec.Command(name, args...)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		return cmd
	}
	output(t, as(65534, initdb, "-D", data, "-U", "nobody", "-A", "peer", "-N", "--no-instructions"))
	cmd := as(65534, server, "-D", data, "-k", b.there, "-c", "listen_addresses=", "-c", "fsync=off")
	cmd.Stderr = t.Output()
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { stop(t, cmd) })
	b.await(".s.PGSQL.5432")
	var out []byte
	eventually(t, func() bool {
		var err error
		out, err = as(65534, psql, "-h", b.here, "-U", "nobody", "-d", "postgres", "-Atc", "select 6*7").CombinedOutput()
		return err == nil
	}, "psql")
	assert.Equal(t, "42\n", string(out))
	// Root is somebody else, here as there.
	refused, err := exec.Command(psql, "-h", b.here, "-U", "nobody", "-d", "postgres", "-Atc", "select 1").CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(refused), "Peer authentication failed")
	output(t, as(65534, load, "-h", b.here, "-U", "nobody", "-i", "-q", "postgres"))
	result := output(t, as(65534, load, "-h", b.here, "-U", "nobody", "-c", "4", "-t", "50", "postgres"))
	assert.Contains(t, result, "number of transactions actually processed: 200/200")
	assert.Contains(t, result, "number of failed transactions: 0")
}

// A file and a directory that a program passes are the sender's own, read and
// written from afar.
func TestPassFiles(t *testing.T) {
	b := newBridge(t)
	client, server := b.connect("s")
	path := filepath.Join(b.dir, "file")
	require.NoError(t, os.WriteFile(path, []byte("some text"), 0o600))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.Seek(5, io.SeekStart)
	require.NoError(t, err)
	theirs := pass(t, client, server, f)
	got, err := io.ReadAll(theirs)
	require.NoError(t, err)
	assert.Equal(t, "text", string(got))
	_, err = theirs.WriteString(", and more")
	require.NoError(t, err)
	require.NoError(t, theirs.Sync())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "some text, and more", string(text))
	theirs.Close()

	d, err := os.Open(b.dir)
	require.NoError(t, err)
	dir := pass(t, server, client, d)
	fd, err := unix.Openat(int(dir.Fd()), "file", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	inner := os.NewFile(uintptr(fd), "inner")
	got, err = io.ReadAll(inner)
	inner.Close()
	require.NoError(t, err)
	assert.Equal(t, string(text), string(got))
	dir.Close()
	for _, r := range []string{"r1", "r2"} {
		eventually(t, func() bool {
			left, err := os.ReadDir(filepath.Join(b.dir, r, "f"))
			return os.IsNotExist(err) || len(left) == 0
		}, "mount points go")
	}
}

// connect returns both ends of a bridged connection.
func (b *joined) connect(name string) (client, server *net.UnixConn) {
	b.t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(b.there, name), Net: "unix"})
	require.NoError(b.t, err)
	b.t.Cleanup(func() { l.Close() })
	var c net.Conn
	eventually(b.t, func() bool {
		c, err = net.Dial("unix", filepath.Join(b.here, name))
		return err == nil
	}, "mirror of "+name)
	server, err = l.AcceptUnix()
	require.NoError(b.t, err)
	client = c.(*net.UnixConn)
	for _, c := range []net.Conn{client, server} {
		b.t.Cleanup(func() { c.Close() })
		require.NoError(b.t, c.SetDeadline(time.Now().Add(30*time.Second)))
	}
	return client, server
}

// pass passes a descriptor and closes the sender's own.
func pass(t *testing.T, from, to *net.UnixConn, f *os.File) *os.File {
	t.Helper()
	_, _, err := from.WriteMsgUnix([]byte("x"), unix.UnixRights(int(f.Fd())), nil)
	require.NoError(t, err)
	f.Close()
	oob := make([]byte, 100)
	_, oobn, _, _, err := to.ReadMsgUnix(make([]byte, 1), oob)
	require.NoError(t, err)
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	require.NoError(t, err)
	require.Len(t, messages, 1)
	fds, err := unix.ParseUnixRights(&messages[0])
	require.NoError(t, err)
	out := os.NewFile(uintptr(fds[0]), "passed")
	t.Cleanup(func() { out.Close() })
	return out
}

// A bridge that is killed is one whose programs have died: connections end at once,
// and when it is back so are the sockets, without leftovers of the one before.
func TestKill(t *testing.T) {
	b := newBridge(t)
	client, server := b.connect("s")
	for round := range 2 {
		victim, restart := &b.serving, b.startServing
		if round == 1 {
			victim, restart = &b.connecting, b.startConnecting
		}
		kill(t, *victim)
		// The other side waits for the link to come back, until it learns that the
		// bridge there is another one.
		restart()
		for _, c := range []net.Conn{client, server} {
			_, err := c.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
		}
		client.Close()
		server.Close()
		client, server = b.connect("s2" + strings.Repeat("x", round))
	}
	stop(t, b.connecting)
	_, err := os.Lstat(b.here)
	assert.ErrorIs(t, err, os.ErrNotExist, "nothing is left behind")
}

func TestUsage(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"- -  --allow /x", "ADDR and PEER can't both be -"},
		{"- tcp://127.0.0.1:1", "neither --allow nor --serve: nothing can be reached"},
		{"- tcp://127.0.0.1:1 --allow x", `path "x" is neither a clean absolute path nor @NAME`},
		{"- tcp://127.0.0.1:1 --allow /x", "tcp without TLS must be allowed explicitly"},
		{"tcp://127.0.0.1:0 - --serve /x --as root", `--as: "root" is neither "same" nor UID:GID`},
		{"tcp://127.0.0.1:0 - --serve / --insecure", "all of / can't be bridged"},
	} {
		t.Run(c.args, func(t *testing.T) {
			var stderr bytes.Buffer
			cmd := exec.Command(binary, strings.Fields(c.args)...)
			cmd.Stderr = &stderr
			assert.Error(t, cmd.Run())
			assert.Contains(t, stderr.String(), c.want)
		})
	}
}
