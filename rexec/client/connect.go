// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"time"

	"github.com/container-offload/offload/rexec/wire"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/session"
)

// Dialer makes a connection to a server, or to a daemon that carries it there.
type Dialer func(context.Context) (net.Conn, error)

// Connect begins a session with a server. name is its in errors. The session
// lives without a connection as long as resume, or the server, allows.
func Connect(ctx context.Context, dial Dialer, name string, resume time.Duration) (*session.Session, error) {
	p := wire.Preamble{Kind: wire.PreambleClient, Client: newToken()}.Encode()
	return session.Dial(ctx, func(ctx context.Context) (net.Conn, error) {
		c, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return &begun{Conn: c, first: p}, nil
	}, session.Config{Name: name, ResumeTimeout: resume, ListenGrace: time.Hour})
}

// begun is a connection whose first write has something before it, and whose
// first read may find a refusal.
type begun struct {
	net.Conn
	first []byte
	heard bool
}

func (b *begun) Read(p []byte) (int, error) {
	if b.heard || len(p) < wire.PreambleSize {
		return b.Conn.Read(p)
	}
	b.heard = true
	first, err := wire.ReadRefusal(b.Conn)
	if err != nil {
		return 0, err
	}
	return copy(p, first), nil
}

func (b *begun) Write(p []byte) (int, error) {
	first := b.first
	if first == nil {
		return b.Conn.Write(p)
	}
	b.first = nil
	n, err := b.Conn.Write(append(first[:len(first):len(first)], p...))
	return max(n-len(first), 0), err
}

// Direct returns the plain connection once nothing has to be said before.
func (b *begun) Direct() net.Conn {
	if b.first != nil || !b.heard {
		return nil
	}
	if d, ok := b.Conn.(interface{ Direct() net.Conn }); ok {
		return d.Direct()
	}
	return b.Conn
}

func newToken() (t wire.Token) {
	// It never fails.
	_, _ = rand.Read(t[:])
	return t
}

// Link returns a dialer for a server that listens on tcp or vsock.
func Link(d *link.Dialer) Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		return d.Dial(ctx, link.Target{Kind: link.KindAgent})
	}
}

// Unix returns a dialer for a unix socket.
func Unix(path string) Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			return nil, fmt.Errorf("reach rexec on %s: %w", path, err)
		}
		return c, nil
	}
}
