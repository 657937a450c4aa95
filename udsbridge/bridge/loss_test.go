// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A link that is cut again and again costs time and nothing else: every byte of
// every connection arrives once.
func TestLinkCut(t *testing.T) {
	p := newPair(t, pairOptions{})
	l, here := p.listen("unix", "s")
	go func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.CloseWrite()
				c.Close()
			}()
		}
	}()
	done := make(chan struct{})
	var cutting sync.WaitGroup
	cutting.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Duration(rand.IntN(20)) * time.Millisecond):
			}
			down := rand.IntN(4) == 0
			p.link.cut(down)
			if down {
				time.Sleep(20 * time.Millisecond)
				p.link.cut(false)
			}
		}
	})
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			data := random(t, 4<<20)
			c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: here, Net: "unix"})
			if !assert.NoError(t, err) {
				return
			}
			defer c.Close()
			go func() {
				_, _ = c.Write(data)
				_ = c.CloseWrite()
			}()
			back, err := io.ReadAll(c)
			assert.NoError(t, err)
			assert.Equal(t, sha256.Sum256(data), sha256.Sum256(back))
		})
	}
	running.Wait()
	close(done)
	cutting.Wait()
	eventually(t, func() bool { return p.near.joints.Load() == 0 && p.far.joints.Load() == 0 }, "joints end")
}

// A connection that is made while the link is down waits for it.
func TestConnectWhileDown(t *testing.T) {
	p := newPair(t, pairOptions{})
	l, here := p.listen("unix", "s")
	p.link.cut(true)
	c, err := net.Dial("unix", here)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("early"))
	require.NoError(t, err)
	p.link.cut(false)
	s, err := l.Accept()
	require.NoError(t, err)
	defer s.Close()
	buf := make([]byte, 5)
	_, err = io.ReadFull(s, buf)
	require.NoError(t, err)
	assert.Equal(t, "early", string(buf))
}

// The end of a session ends its connections, refuses new ones, and the next session
// brings the sockets back.
func TestPeerRestart(t *testing.T) {
	p := newPair(t, pairOptions{})
	client, server := p.connect("unix")
	_, here := p.listen("unix", "s")
	p.accepted.Close()
	_, err := client.Read(make([]byte, 1))
	assert.Error(t, err)
	_, err = server.Read(make([]byte, 1))
	assert.Error(t, err)
	eventually(t, func() bool {
		c, err := net.Dial("unix", here)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}, "ECONNREFUSED")
	p.join()
	p.await(here)
}
