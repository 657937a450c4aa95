// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newHook(t *testing.T) *Hook {
	t.Helper()
	h, err := New("")
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

// lands returns the path of the listener that a connection to path reaches.
func lands(t *testing.T, path string) (string, error) {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		return "", err
	}
	defer c.Close()
	assert.Equal(t, path, c.RemoteAddr().String(), "getpeername(2) shows the path that was asked for")
	buf := make([]byte, 200)
	n, err := c.Read(buf)
	require.NoError(t, err)
	return string(buf[:n]), nil
}

func listen(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(path))
			c.Close()
		}
	}()
}

func TestConnect(t *testing.T) {
	h := newHook(t)
	dir, err := os.MkdirTemp("", "uh")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	require.NoError(t, h.Set([]Rule{{dir + "/a", dir + "/elsewhere/a"}, {dir + "/b.sock", dir + "/c"}}))
	for _, p := range []string{"/elsewhere/a/s", "/elsewhere/a/deep/er/s", "/c", "/a/s", "/ab", "/elsewhere/a/" + strings.Repeat("x", 40)} {
		listen(t, dir+p)
	}
	for _, c := range []struct{ path, want string }{
		{"/a/s", "/elsewhere/a/s"},
		{"/a/deep/er/s", "/elsewhere/a/deep/er/s"},
		{"/a/" + strings.Repeat("x", 40), "/elsewhere/a/" + strings.Repeat("x", 40)},
		{"/b.sock", "/c"},
		{"/ab", "/ab"},
	} {
		got, err := lands(t, dir+c.path)
		require.NoError(t, err, c.path)
		assert.Equal(t, dir+c.want, got)
	}
	_, err = lands(t, dir+"/a/missing")
	assert.ErrorIs(t, err, syscall.ENOENT)
	// What gets too long for an address isn't found.
	long := dir + "/a/" + strings.Repeat("y", 107-len(dir)-3)
	_, err = net.Dial("unix", long)
	assert.ErrorIs(t, err, syscall.ENOENT)

	require.NoError(t, h.Set(nil))
	got, err := lands(t, dir+"/a/s")
	require.NoError(t, err)
	assert.Equal(t, dir+"/a/s", got)
}

// Datagrams go where connections do, and answers seem to come from there.
func TestDatagram(t *testing.T) {
	h := newHook(t)
	dir, err := os.MkdirTemp("", "uh")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	require.NoError(t, h.Set([]Rule{{dir + "/from", dir + "/to"}}))
	server, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/to", Net: "unixgram"})
	require.NoError(t, err)
	defer server.Close()
	client, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/client", Net: "unixgram"})
	require.NoError(t, err)
	defer client.Close()
	_, err = client.WriteToUnix([]byte("ping"), &net.UnixAddr{Name: dir + "/from", Net: "unixgram"})
	require.NoError(t, err)
	buf := make([]byte, 100)
	n, from, err := server.ReadFromUnix(buf)
	require.NoError(t, err)
	assert.Equal(t, "ping", string(buf[:n]))
	_, err = server.WriteToUnix([]byte("pong"), from)
	require.NoError(t, err)
	n, from, err = client.ReadFromUnix(buf)
	require.NoError(t, err)
	assert.Equal(t, "pong", string(buf[:n]))
	assert.Equal(t, dir+"/from", from.Name)
}

// The programs are small enough for the verifier with as many rules as one may have.
func TestManyRules(t *testing.T) {
	h := newHook(t)
	var rules []Rule
	for i := range 64 {
		name := strings.Repeat(string(rune('a'+i%26)), 1+i%7) + strings.Repeat("z", i/26)
		rules = append(rules, Rule{"/run/" + name, "/run/offload/dpu/bridge/h/run-" + name})
	}
	require.NoError(t, h.Set(rules))
}
