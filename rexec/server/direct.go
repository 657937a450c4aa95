// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/session"
)

const (
	// goneAfter is how long a client of another machine may stay away after its
	// side has closed the connection. A link that is lost closes nothing, and one
	// that breaks is dialled again at once: it is the kernel of a client that has
	// ended, and of nobody who comes again.
	goneAfter = 10 * time.Second
	gonePoll  = time.Second
)

// ServeLink takes the connections of clients of other machines until ctx ends or
// the listener is closed. Who may connect, the listener's security decides.
func (s *Server) ServeLink(ctx context.Context, l *link.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		in, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept clients: %w", err)
		}
		go func() {
			defer in.Close()
			c, err := in.Handshake(ctx)
			if err == nil {
				err = s.handle(ctx, c, origin{name: in.Peer, direct: true})
			}
			if err != nil {
				s.log.Warn("refused connection", "peer", in.Peer, "error", err)
			}
		}()
	}
}

// followLink ends a session whose client has closed its connection and stays away.
func (s *Server) followLink(sess *session.Session) {
	t := time.NewTicker(gonePoll)
	defer t.Stop()
	var since time.Time
	for {
		select {
		case <-sess.Done():
			return
		case now := <-t.C:
			switch {
			case !sess.PeerClosed():
				since = time.Time{}
			case since.IsZero():
				since = now
			case now.Sub(since) >= goneAfter:
				sess.Abort(errors.New("the client has ended"))
				return
			}
		}
	}
}
