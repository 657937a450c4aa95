// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/policy"
	"github.com/container-offload/offload/udsbridge/session"
)

// pair is two bridges on a link of this machine: sockets that programs make below
// there are mirrored below here.
type pair struct {
	t           testing.TB
	here, there string
	near, far   *Bridge
	link        *link
	dialled     *session.Session
	accepted    *session.Session
}

// pairOptions are what tests vary.
type pairOptions struct {
	as        policy.Identity
	farDirs   []string
	technique policy.Technique
	connect   []policy.Connect
	serve     []policy.Serve
	streams   int
}

func newPair(t testing.TB, o pairOptions) *pair {
	t.Helper()
	dir := shortDir(t)
	p := &pair{t: t, here: filepath.Join(dir, "here"), there: filepath.Join(dir, "there")}
	require.NoError(t, os.Mkdir(p.there, 0o755))
	if o.technique == "" {
		o.technique = policy.Mirror
	}
	if o.as == (policy.Identity{}) {
		o.as = policy.Identity{Same: true}
	}
	var err error
	p.far, err = New(Options{
		Serve: append(o.serve, policy.Serve{Path: p.there, As: o.as}), Dirs: o.farDirs,
		Runtime: filepath.Join(dir, "r"), Logger: testLog(t, "far"),
	})
	require.NoError(t, err)
	p.near, err = New(Options{
		Connect: append(o.connect, policy.Connect{Path: p.here, PeerPath: p.there, Technique: o.technique}),
		Runtime: filepath.Join(dir, "r"), Logger: testLog(t, "near"),
	})
	require.NoError(t, err)
	p.link = newLink(t, dir, session.Config{Name: "far", MaxStreams: o.streams})
	p.join()
	t.Cleanup(func() {
		require.NoError(t, p.near.Close())
		require.NoError(t, p.far.Close())
	})
	return p
}

// join makes a session between the two and serves on both ends.
func (p *pair) join() {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p.dialled, p.accepted = p.link.session(p.t)
	var running sync.WaitGroup
	running.Go(func() { _ = p.near.Serve(ctx, p.dialled) })
	running.Go(func() { _ = p.far.Serve(ctx, p.accepted) })
	p.t.Cleanup(func() {
		cancel()
		p.dialled.Close()
		p.accepted.Close()
		running.Wait()
	})
}

// path returns the path of a socket of there, and of its mirror.
func (p *pair) path(name string) (there, here string) {
	return filepath.Join(p.there, name), filepath.Join(p.here, name)
}

// await waits until the mirror of a socket answers.
func (p *pair) await(here string) {
	p.t.Helper()
	eventually(p.t, func() bool {
		p.near.mu.Lock()
		defer p.near.mu.Unlock()
		for _, x := range p.near.connect {
			for _, m := range x.mirrors {
				if m.path == here && m.sock.Live {
					return true
				}
			}
		}
		return false
	}, "mirror %s", here)
}

// listen listens on a socket of there and waits for its mirror.
func (p *pair) listen(network, name string) (*net.UnixListener, string) {
	p.t.Helper()
	there, here := p.path(name)
	require.NoError(p.t, os.MkdirAll(filepath.Dir(there), 0o755))
	l, err := net.ListenUnix(network, &net.UnixAddr{Name: there, Net: network})
	require.NoError(p.t, err)
	p.t.Cleanup(func() { l.Close() })
	p.await(here)
	return l, here
}

// connect returns both ends of a bridged connection.
func (p *pair) connect(network string) (client, server *net.UnixConn) {
	p.t.Helper()
	l, here := p.listen(network, "s-"+network)
	defer l.Close()
	client, err := net.DialUnix(network, nil, &net.UnixAddr{Name: here, Net: network})
	require.NoError(p.t, err)
	server, err = l.AcceptUnix()
	require.NoError(p.t, err)
	for _, c := range []*net.UnixConn{client, server} {
		p.t.Cleanup(func() { c.Close() })
		require.NoError(p.t, c.SetDeadline(time.Now().Add(time.Minute)))
	}
	return client, server
}

func eventually(t testing.TB, f func() bool, what string, args ...any) {
	t.Helper()
	require.Eventuallyf(t, f, time.Minute, 2*time.Millisecond, what, args...)
}

// shortDir returns a temporary directory whose path leaves room in a socket's
// address.
func shortDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "ub")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

func testLog(t testing.TB, side string) *slog.Logger {
	if !testing.Verbose() {
		return nil
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("side", side)
}

// link is a listener for the connections of sessions. They can be cut.
type link struct {
	l        net.Listener
	cfg      session.Config
	acceptor *session.Acceptor
	fresh    chan *session.Session

	mu    sync.Mutex
	conns []net.Conn
	down  bool
}

func newLink(t testing.TB, dir string, cfg session.Config) *link {
	nl, err := net.Listen("unix", filepath.Join(dir, "link"))
	require.NoError(t, err)
	t.Cleanup(func() { nl.Close() })
	k := &link{l: nl, cfg: cfg, acceptor: session.NewAcceptor(cfg), fresh: make(chan *session.Session, 1)}
	go func() {
		for {
			c, err := nl.Accept()
			if err != nil {
				return
			}
			go func() {
				if s, fresh, err := k.acceptor.Handle(context.Background(), c); err == nil && fresh {
					k.fresh <- s
				}
			}()
		}
	}()
	return k
}

func (k *link) session(t testing.TB) (dialled, accepted *session.Session) {
	t.Helper()
	dialled, err := session.Dial(context.Background(), k.dial, k.cfg)
	require.NoError(t, err)
	return dialled, <-k.fresh
}

func (k *link) dial(context.Context) (net.Conn, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.down {
		return nil, unix.EHOSTUNREACH
	}
	c, err := net.Dial("unix", k.l.Addr().String())
	if err == nil {
		k.conns = append(k.conns, c)
	}
	return c, err
}

// cut breaks every connection, and with down lets none be made until cut(false).
func (k *link) cut(down bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.down = down
	for _, c := range k.conns {
		c.Close()
	}
	k.conns = nil
}
