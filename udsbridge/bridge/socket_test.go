// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/policy"
)

func random(t testing.TB, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := rand.Read(b)
	require.NoError(t, err)
	return b
}

// Bytes arrive whole and in order, both ways at once, and each half ends by itself.
func TestStream(t *testing.T) {
	p := newPair(t, pairOptions{})
	client, server := p.connect("unix")
	up, down := random(t, 5<<20), random(t, 3<<20)
	write := func(c *net.UnixConn, b []byte) chan error {
		done := make(chan error, 1)
		go func() {
			_, err := c.Write(b)
			done <- errors.Join(err, c.CloseWrite())
		}()
		return done
	}
	sent := []chan error{write(client, up), write(server, down)}
	got, err := io.ReadAll(server)
	require.NoError(t, err)
	assert.Equal(t, sha256.Sum256(up), sha256.Sum256(got))
	got, err = io.ReadAll(client)
	require.NoError(t, err)
	assert.Equal(t, sha256.Sum256(down), sha256.Sum256(got))
	for _, ch := range sent {
		require.NoError(t, <-ch)
	}
	eventually(t, func() bool { return p.near.joints.Load() == 0 && p.far.joints.Load() == 0 }, "joints end")
}

// After a program has shut down its half, the other half goes on.
func TestHalfClose(t *testing.T) {
	p := newPair(t, pairOptions{})
	client, server := p.connect("unix")
	require.NoError(t, client.CloseWrite())
	n, err := server.Read(make([]byte, 1))
	assert.Zero(t, n)
	require.ErrorIs(t, err, io.EOF)
	for range 3 {
		_, err = server.Write([]byte("still here"))
		require.NoError(t, err)
		buf := make([]byte, 10)
		_, err = io.ReadFull(client, buf)
		require.NoError(t, err)
		assert.Equal(t, "still here", string(buf))
	}
	// And the end of a program that has shut down its half before is noticed.
	client.Close()
	eventually(t, func() bool {
		_, err := server.Write([]byte("x"))
		return errors.Is(err, syscall.EPIPE)
	}, "EPIPE")
}

// A program that writes to one who reads no more gets EPIPE, which SHUT_RD brings
// about as well as close.
func TestBrokenPipe(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*net.UnixConn) error
	}{{"close", (*net.UnixConn).Close}, {"shutdown", (*net.UnixConn).CloseRead}} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, pairOptions{})
			client, server := p.connect("unix")
			require.NoError(t, c.end(server))
			eventually(t, func() bool {
				_, err := client.Write([]byte("x"))
				return errors.Is(err, syscall.EPIPE)
			}, "EPIPE")
		})
	}
}

// connect(2) and what comes after it fail as on one machine.
func TestErrors(t *testing.T) {
	p := newPair(t, pairOptions{})
	l, here := p.listen("unix", "a/b/s")
	_, err := net.Dial("unix", here+"x")
	assert.ErrorIs(t, err, syscall.ENOENT)
	_, err = net.Dial("unixgram", here)
	assert.ErrorIs(t, err, syscall.EPROTOTYPE)
	// A program that dies leaves its socket's file.
	l.SetUnlinkOnClose(false)
	l.Close()
	eventually(t, func() bool {
		c, err := net.Dial("unix", here)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}, "ECONNREFUSED")
	there, _ := p.path("a/b/s")
	require.NoError(t, os.Remove(there))
	eventually(t, func() bool {
		_, err := net.Dial("unix", here)
		return errors.Is(err, syscall.ENOENT)
	}, "ENOENT")
	require.NoError(t, os.RemoveAll(filepath.Dir(filepath.Dir(there))))
}

// The mirror has the owner and mode of what it stands for.
func TestPermission(t *testing.T) {
	p := newPair(t, pairOptions{})
	there, here := p.path("s")
	l, err := net.Listen("unix", there)
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, os.Chown(there, 1234, 4321))
	require.NoError(t, os.Chmod(there, 0o620))
	eventually(t, func() bool {
		var st unix.Stat_t
		return unix.Stat(here, &st) == nil && st.Uid == 1234 && st.Gid == 4321 && st.Mode&0o777 == 0o620
	}, "owner and mode")
	p.await(here)
	for _, c := range []struct {
		name     string
		uid, gid uint32
		want     error
	}{{"owner", 1234, 99, nil}, {"group", 99, 4321, nil}, {"other", 99, 99, syscall.EACCES}} {
		t.Run(c.name, func(t *testing.T) {
			assert.ErrorIs(t, dialAs(here, c.uid, c.gid), c.want)
		})
	}
}

// Messages keep their boundaries, empty and large ones too.
func TestSeqPacket(t *testing.T) {
	p := newPair(t, pairOptions{})
	client, server := p.connect("unixpacket")
	messages := [][]byte{{1}, random(t, 70<<10), {}, random(t, 200<<10), []byte("x")}
	buf := make([]byte, 1<<20)
	for _, m := range messages {
		_, err := client.Write(m)
		require.NoError(t, err)
		n, _, _, _, err := server.ReadMsgUnix(buf, nil)
		if len(m) > 0 {
			require.NoError(t, err)
		}
		assert.True(t, bytes.Equal(m, buf[:n]), "message of %d bytes, got %d", len(m), n)
	}
	server.Close()
	_, _, _, _, err := client.ReadMsgUnix(buf, nil)
	require.ErrorIs(t, err, io.EOF)
}

// Datagrams of several programs reach the peer, and answers find back.
func TestDatagram(t *testing.T) {
	p := newPair(t, pairOptions{})
	there, here := p.path("d")
	server, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: there, Net: "unixgram"})
	require.NoError(t, err)
	defer server.Close()
	p.await(here)
	go func() {
		buf := make([]byte, 1<<20)
		for {
			n, from, err := server.ReadFromUnix(buf)
			if err != nil {
				return
			}
			if from != nil {
				_, _ = server.WriteToUnix(append([]byte("re:"), buf[:n]...), from)
			}
		}
	}()
	dir := shortDir(t)
	for _, name := range []string{"c1", "c2"} {
		c, err := net.DialUnix("unixgram", &net.UnixAddr{Name: filepath.Join(dir, name), Net: "unixgram"}, &net.UnixAddr{Name: here, Net: "unixgram"})
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
		for _, m := range [][]byte{[]byte(name), random(t, 100<<10)} {
			_, err = c.Write(m)
			require.NoError(t, err)
			buf := make([]byte, 1<<20)
			n, err := c.Read(buf)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(append([]byte("re:"), m...), buf[:n]))
		}
	}
}

// Abstract names are bridged if they are listed.
func TestAbstract(t *testing.T) {
	name := "@udsbridge-test-" + filepath.Base(shortDir(t))
	newPair(t, pairOptions{
		serve:   []policy.Serve{{Path: name + "-there", As: policy.Identity{Same: true}}},
		connect: []policy.Connect{{Path: name + "-here", PeerPath: name + "-there", Technique: policy.Mirror}},
	})
	l, err := net.Listen("unix", name+"-there")
	require.NoError(t, err)
	defer l.Close()
	var c net.Conn
	eventually(t, func() bool {
		c, err = net.Dial("unix", name+"-here")
		return err == nil
	}, "mirror")
	defer c.Close()
	s, err := l.Accept()
	require.NoError(t, err)
	defer s.Close()
	_, err = s.Write([]byte("hello"))
	require.NoError(t, err)
	buf := make([]byte, 5)
	_, err = io.ReadFull(c, buf)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(buf))
}

// The peer's program sees who connects, and the program here who listens.
func TestPeerCredentials(t *testing.T) {
	for _, c := range []struct {
		name     string
		as       policy.Identity
		uid, gid uint32
	}{
		{"same", policy.Identity{Same: true}, 1234, 4321},
		{"mapped", policy.Identity{UID: 77, GID: 88}, 77, 88},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, pairOptions{as: c.as})
			l, here := p.listen("unix", "s")
			there, _ := p.path("s")
			require.NoError(t, os.Chmod(there, 0o666))
			require.NoError(t, os.Chown(there, 55, 66))
			eventually(t, func() bool {
				var st unix.Stat_t
				return unix.Stat(here, &st) == nil && st.Uid == 55 && st.Mode&0o777 == 0o666
			}, "owner")
			p.await(here)
			done := make(chan error, 1)
			go func() { done <- dialAs(here, 1234, 4321) }()
			s, err := l.AcceptUnix()
			require.NoError(t, err)
			defer s.Close()
			require.NoError(t, <-done)
			cred := ucred(t, s)
			assert.Equal(t, c.uid, cred.Uid)
			assert.Equal(t, c.gid, cred.Gid)
			client, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: here, Net: "unix"})
			require.NoError(t, err)
			defer client.Close()
			cred = ucred(t, client)
			assert.Equal(t, uint32(55), cred.Uid)
			assert.Equal(t, uint32(66), cred.Gid)
		})
	}
}

// A program that doesn't read makes the one that writes wait.
func TestBackPressure(t *testing.T) {
	p := newPair(t, pairOptions{})
	client, server := p.connect("unix")
	require.NoError(t, client.SetWriteDeadline(time.Now().Add(time.Second)))
	total := 0
	chunk := make([]byte, 64<<10)
	for {
		n, err := client.Write(chunk)
		total += n
		if err != nil {
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			break
		}
		require.Less(t, total, 64<<20, "nothing holds the writer up")
	}
	require.NoError(t, client.CloseWrite())
	n, err := io.Copy(io.Discard, server)
	require.NoError(t, err)
	assert.EqualValues(t, total, n)
}

// What the serving side doesn't list can't be reached, by no trick of the names.
func TestClosedByDefault(t *testing.T) {
	p := newPair(t, pairOptions{})
	outside := filepath.Join(shortDir(t), "secret")
	l, err := net.Listen("unix", outside)
	require.NoError(t, err)
	defer l.Close()
	link, _ := p.path("link")
	require.NoError(t, os.Symlink(outside, link))
	up, _ := p.path("up")
	require.NoError(t, os.Symlink("..", up))
	for _, path := range []string{outside, link, up + "/there", "@nothing", p.there, p.there + "/missing"} {
		assert.Error(t, requestConnect(t, p, path), path)
	}
}
