// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package rexec_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	mrand "math/rand/v2"
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

	"github.com/container-offload/offload/rexec/client"
	"github.com/container-offload/offload/rexec/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// connect begins a session with a rig's server.
func (r *rig) connect() *session.Session {
	r.t.Helper()
	sess, err := client.Connect(r.t.Context(), client.Unix(r.client), "server", time.Minute)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { sess.Close() })
	return sess
}

// answer sends raw bytes on a control stream and returns what comes back.
func answer(t *testing.T, sess *session.Session, b []byte) (wire.Message, error) {
	t.Helper()
	st, err := sess.Open(context.Background(), wire.ServiceControl, nil)
	require.NoError(t, err)
	defer st.Close()
	require.NoError(t, st.SetDeadline(time.Now().Add(time.Minute)))
	_, err = st.Write(b)
	require.NoError(t, err)
	return wire.Read(bufio.NewReader(st))
}

func TestHostileBytes(t *testing.T) {
	r := newRig(t, everything)
	r.must("true")
	time.Sleep(time.Second)
	before := r.descriptors()
	random := mrand.New(mrand.NewPCG(1, 2))

	for range 50 {
		c, err := net.Dial("unix", r.socket)
		require.NoError(t, err)
		b := make([]byte, random.IntN(200))
		_, _ = rand.Read(b)
		if len(b) > 4 {
			copy(b, "RX1C")
		}
		_, _ = c.Write(b)
		c.Close()
	}

	sess := r.connect()
	valid, err := wire.Encode(&wire.Run{Program: "true", Args: []string{"true"}, Dir: "/"})
	require.NoError(t, err)
	for range 300 {
		b := append([]byte(nil), valid...)
		for range 1 + random.IntN(4) {
			b[random.IntN(len(b))] = byte(random.IntN(256))
		}
		st, err := sess.Open(t.Context(), wire.ServiceControl, nil)
		require.NoError(t, err)
		_, _ = st.Write(b)
		st.Close()
	}
	for range 300 {
		h := make([]byte, random.IntN(30))
		_, _ = rand.Read(h)
		st, err := sess.Open(t.Context(), wire.ServiceIO, h)
		require.NoError(t, err)
		_, _ = st.Write(h)
	}
	m, err := answer(t, sess, []byte("GET / HTTP/1.1\r\n\r\n"))
	require.NoError(t, err)
	assert.Equal(t, &wire.Failed{Reason: wire.ReasonInvalid, Text: "malformed message: version 47, not 1"}, m)
	require.NoError(t, sess.Close())

	r.must("true")
	r.await("descriptors to be closed", func() bool { return r.descriptors() <= before })
	assert.Empty(t, r.children())
}

func TestHostileRequests(t *testing.T) {
	r := newRig(t, everything)
	sess := r.connect()
	many := make([]wire.File, 100)
	for i := range many {
		many[i] = wire.File{Number: uint16(i), Kind: wire.FileOut}
	}
	for want, change := range map[string]func(*wire.Run){
		"no program is named":                      func(m *wire.Run) { m.Args = nil },
		"descriptor 1024 is beyond 1023":           func(m *wire.Run) { m.Files = []wire.File{{Number: 1024}} },
		"descriptor 1 is given twice":              func(m *wire.Run) { m.Files = []wire.File{{Number: 1}, {Number: 1}} },
		"100 descriptors, more than 64":            func(m *wire.Run) { m.Files = many },
		"which is not there before it":             func(m *wire.Run) { m.Files = []wire.File{{Number: 1, Kind: wire.FileSame, Of: 2}} },
		"is a terminal, of which nothing is known": func(m *wire.Run) { m.Files = []wire.File{{Number: 1, Kind: wire.FileTerminal}} },
		"there is no limit \"x\"":                  func(m *wire.Run) { m.Rlimits = []wire.Rlimit{{Name: "x"}} },
		"unknown user nonesuch":                    func(m *wire.Run) { m.User = "nonesuch" },
		"unknown group nonesuch":                   func(m *wire.Run) { m.Group = "nonesuch" },
		"working directory \"x\" is not absolute":  func(m *wire.Run) { m.Dir = "x" },
		"argument list too long":                   func(m *wire.Run) { m.Args = []string{"true", strings.Repeat("x", 200<<10)} },
		"not a regular file":                       func(m *wire.Run) { m.Program = "/dev/null" },
		"is not absolute":                          func(m *wire.Run) { m.Program, m.Dir = "./x", "" },
	} {
		m := &wire.Run{Program: "true", Args: []string{"true"}, Dir: "/"}
		change(m)
		if strings.Contains(want, "is not absolute") && m.Program == "./x" {
			want = "the working directory is not known"
		}
		b, err := wire.Encode(m)
		require.NoError(t, err)
		got, err := answer(t, sess, b)
		require.NoError(t, err)
		require.IsType(t, &wire.Failed{}, got, want)
		assert.Contains(t, got.(*wire.Failed).Text, want)
	}
}

// TestWhatWasCheckedIsWhatRuns changes what a name means again and again. A
// program may be the one or the other, and its digest decides which.
func TestWhatWasCheckedIsWhatRuns(t *testing.T) {
	dir := t.TempDir()
	good, bad, name := filepath.Join(dir, "good"), filepath.Join(dir, "bad"), filepath.Join(dir, "name")
	copyFile(t, "/bin/echo", good)
	copyFile(t, "/bin/false", bad)
	sum, err := exec.Command("sha256sum", good).Output()
	require.NoError(t, err)
	r := newRig(t, fmt.Sprintf("version = 1\n[[allow]]\nprogram = %q\nsha256 = %q\n", name, strings.Fields(string(sum))[0]))
	stop, stopped := make(chan struct{}), make(chan struct{})
	require.NoError(t, os.Link(good, name))
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			next := filepath.Join(dir, "next")
			_ = os.Remove(next)
			_ = os.Link([]string{good, bad}[i%2], next)
			_ = os.Rename(next, name)
		}
	}()
	ran, refused := 0, 0
	for range 60 {
		out, err := r.command(name, "x").CombinedOutput()
		switch code := status(t, err).ExitStatus(); code {
		case 0:
			ran++
			assert.Equal(t, "x\n", string(out))
		case 126:
			refused++
			assert.Contains(t, string(out), "does not have the digest that the allow-list names")
		default:
			t.Errorf("status %d: %s", code, out)
		}
	}
	close(stop)
	<-stopped
	t.Logf("%d ran, %d were refused", ran, refused)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, b, 0o755))
}

func TestWorldWritableProgram(t *testing.T) {
	r := newRig(t, everything)
	path := filepath.Join(t.TempDir(), "echo")
	copyFile(t, "/bin/echo", path)
	assert.Equal(t, "x\n", r.must(path, "x"))
	require.NoError(t, os.Chmod(path, 0o757))
	_, err := r.output(path, "x")
	assert.ErrorContains(t, err, "anybody may change it")
}

// TestOthersMayNotConnect has another user try.
func TestOthersMayNotConnect(t *testing.T) {
	r := newRig(t, everything)
	require.NoError(t, os.Chmod(r.socket, 0o777))
	require.NoError(t, os.Chmod(filepath.Dir(r.socket), 0o755))
	for dir := filepath.Dir(r.socket); len(dir) > len("/tmp"); dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{daemonEnv + "=probe " + r.socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Equal(t, "closed\n", string(out))
	assert.Contains(t, func() string { b, _ := os.ReadFile(r.log); return string(b) }(), "refused connection")
}
