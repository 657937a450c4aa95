// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/container-offload/offload/rexec/wire"
	"github.com/container-offload/offload/udsbridge/pidfd"
	"github.com/container-offload/offload/udsbridge/session"
)

const (
	// lastWords is how long what a client that has ended has sent may take to
	// arrive.
	lastWords = 500 * time.Millisecond
	// maxPeers bounds how many clients may be connected.
	maxPeers = 8192
)

// Serve takes the connections of clients on a unix socket until ctx ends or the
// listener is closed. Only root and this process's user may connect. name is
// the peer's in the log.
func (s *Server) Serve(ctx context.Context, l *net.UnixListener, name string) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		c, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept clients: %w", err)
		}
		go func() {
			uid, pid, err := pidfd.Peer(c)
			if err != nil || uid != 0 && uid != os.Geteuid() {
				s.log.Warn("refused connection", "uid", uid, "error", err)
				c.Close()
				return
			}
			if err := s.handle(ctx, c, origin{name: name, pid: pid}); err != nil {
				s.log.Debug("refused connection", "peer", name, "error", err)
			}
		}()
	}
}

// origin says where a connection comes from.
type origin struct {
	name string // in the log
	// pid is the client's process if it is of this machine and is not relayed, else 0.
	pid int
	// direct is whether the client itself has made the connection, from another
	// machine.
	direct bool
}

// handle takes a connection and blocks as long as it is the first of its session.
func (s *Server) handle(ctx context.Context, c net.Conn, from origin) error {
	// It fails only on a connection that is closed, which shows at once.
	_ = c.SetReadDeadline(time.Now().Add(requestTimeout))
	pre, err := wire.ReadPreamble(c)
	if err != nil {
		c.Close()
		return err
	}
	_ = c.SetReadDeadline(time.Time{})
	if pre.Kind == wire.PreambleGone {
		c.Close()
		s.clientGone(pre.Client)
		return nil
	}
	if pre.Kind != wire.PreambleClient {
		from.pid, from.direct = 0, false
	}
	if err := s.admit(); err != nil {
		c.Close()
		return err
	}
	sess, fresh, err := s.acceptor.Handle(ctx, c)
	if err != nil || !fresh {
		return err
	}
	if !s.enter(pre.Client, sess) {
		sess.Close()
		return errors.New("another client has the same number")
	}
	defer s.exit(pre.Client)
	switch {
	case from.pid != 0:
		go s.follow(from.pid, sess)
	case from.direct:
		go s.followLink(sess)
	}
	s.serve(ctx, sess, from.name)
	return nil
}

// follow ends a session when the process of its client has ended.
func (s *Server) follow(pid int, sess *session.Session) {
	p, err := pidfd.Open(pid)
	if err != nil {
		endSoon(sess)
		return
	}
	defer p.Close()
	if p.Wait(sess.Done()) {
		endSoon(sess)
	}
}

func (s *Server) clientGone(t wire.Token) {
	s.mu.Lock()
	sess := s.peers[t]
	s.mu.Unlock()
	if sess != nil {
		endSoon(sess)
	}
}

// endSoon ends a session after what is on its way has arrived.
func endSoon(sess *session.Session) {
	t := time.NewTimer(lastWords)
	defer t.Stop()
	select {
	case <-sess.Done():
	case <-t.C:
		sess.Abort(errors.New("the client has ended"))
	}
}

func (s *Server) admit() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.peers) >= maxPeers {
		return errors.New("too many clients are connected")
	}
	return nil
}

func (s *Server) enter(t wire.Token, sess *session.Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.peers[t] != nil {
		return false
	}
	s.peers[t] = sess
	s.notifyLocked()
	return true
}

func (s *Server) exit(t wire.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.peers, t)
	s.notifyLocked()
}

func (s *Server) closePeers() {
	s.mu.Lock()
	sessions := make([]*session.Session, 0, len(s.peers))
	for _, sess := range s.peers {
		sessions = append(sessions, sess)
	}
	s.mu.Unlock()
	for _, sess := range sessions {
		sess.Abort(errors.New("the server ends"))
	}
}
