// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package relay is what a daemon does for rexec: it carries the connections of
// clients of this machine to the peer's server, and those of the peer's clients
// to the server of this machine. It looks at nothing but the first bytes.
//
// A connection that breaks here means nothing: the session in it goes on over
// the next one. So a daemon may be restarted, or killed, while programs run.
//
// It imports rexec/wire and never the client or the server.
package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/container-offload/offload/rexec/wire"
	"github.com/container-offload/offload/udsbridge/pidfd"
)

// Service is the name under which daemons carry connections to a server.
const Service = "rexec"

const (
	preambleTimeout = 10 * time.Second
	// retryGone is the pause before the peer is told again that a client ended.
	retryGone = time.Second
)

// Opener opens a stream of [Service] to the peer.
type Opener func(context.Context) (net.Conn, error)

// Out carries the connections that clients of this machine make to l, until ctx
// ends. Only root may connect. It tells the peer when a client's process ends,
// for as long as keep.
func Out(ctx context.Context, l *net.UnixListener, open Opener, keep time.Duration, log *slog.Logger) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		c, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept clients of rexec: %w", err)
		}
		go func() {
			defer c.Close()
			if err := out(ctx, c, open, keep, log); err != nil {
				log.Info("carry client of rexec", "error", err)
				refuse(c, err)
			}
		}()
	}
}

func out(ctx context.Context, c *net.UnixConn, open Opener, keep time.Duration, log *slog.Logger) error {
	uid, pid, err := pidfd.Peer(c)
	if err != nil {
		return err
	}
	if uid != 0 && uid != os.Geteuid() {
		return fmt.Errorf("connection of uid %d is refused", uid)
	}
	process, err := pidfd.Open(pid)
	if err != nil {
		return err
	}
	// It fails only on a connection that is closed, which shows at once.
	_ = c.SetReadDeadline(time.Now().Add(preambleTimeout))
	p, err := wire.ReadPreamble(c)
	if err != nil {
		process.Close()
		return err
	}
	_ = c.SetReadDeadline(time.Time{})
	p.Kind = wire.PreambleRelayed
	st, err := open(ctx)
	if err != nil {
		process.Close()
		return err
	}
	if _, err := st.Write(p.Encode()); err != nil {
		process.Close()
		st.Close()
		return err
	}
	go func() {
		defer process.Close()
		if process.Wait(ctx.Done()) {
			tellGone(ctx, p.Client, open, keep, log)
		}
	}()
	return carry(c, st)
}

// carry copies between a client and its stream, and returns the error of a
// stream that the peer refused.
func carry(c *net.UnixConn, st net.Conn) error {
	first := make([]byte, 512)
	answered := make(chan error, 1)
	go func() {
		// Until something has come back, nothing is lost by saying no.
		n, err := st.Read(first)
		if n > 0 {
			_, err = c.Write(first[:n])
		}
		answered <- err
		if err == nil {
			_, _ = io.Copy(c, st)
			c.Close()
		} else {
			// It ends the other copy, and still lets a refusal out.
			_ = c.CloseRead()
		}
		st.Close()
	}()
	_, _ = io.Copy(st, c)
	st.Close()
	if err := <-answered; err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// refuse tells a client why it can't be carried.
func refuse(c net.Conn, err error) {
	_ = c.SetWriteDeadline(time.Now().Add(preambleTimeout))
	// A client that doesn't listen learns nothing.
	_, _ = c.Write(wire.Refusal(err))
}

// tellGone tells the peer's server that a client has ended.
func tellGone(ctx context.Context, client wire.Token, open Opener, keep time.Duration, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, keep)
	defer cancel()
	for {
		st, err := open(ctx)
		if err == nil {
			_, err = st.Write(wire.Preamble{Kind: wire.PreambleGone, Client: client}.Encode())
			st.Close()
		}
		if err == nil {
			return
		}
		log.Debug("tell that a client of rexec has ended", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryGone):
		}
	}
}

// In carries the streams of the peer's clients to the server of this machine,
// to which connect connects, until the listener is closed.
func In(ctx context.Context, l net.Listener, connect Opener, log *slog.Logger) {
	for {
		st, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer st.Close()
			c, err := connect(ctx)
			if err != nil {
				log.Warn("reach the server of rexec", "error", err)
				refuse(st, errors.New("the peer has no server: see its log"))
				return
			}
			join(st, c)
		}()
	}
}

// join copies both ways until either connection ends, and then ends both.
func join(a, b net.Conn) {
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			// How it ended makes no difference.
			_, _ = io.Copy(way[0], way[1])
			a.Close()
			b.Close()
		})
	}
	both.Wait()
}
