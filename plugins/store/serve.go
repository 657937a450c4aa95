// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"
	"golang.org/x/sync/errgroup"

	"github.com/container-offload/offload/plugins/wire"
)

// lingering bounds how long a stream that failed is read on, so that the answer
// is not lost with what was still arriving.
const lingering = 30 * time.Second

// Serve offers the store on a link until ctx ends or the link does. listen gives
// the listener of a service; its connections have a Header() []byte method with
// the bytes the other side opened the stream with. Serve closes the listeners
// and returns when every stream has ended. It returns nil if ctx ended it.
func (s *Store) Serve(ctx context.Context, listen func(service string) net.Listener) error {
	server, err := ttrpc.NewServer()
	if err != nil {
		return fmt.Errorf("serve snapshots: %w", err)
	}
	defer server.Close()
	snapshotsapi.RegisterTTRPCSnapshotsService(server, service{s})
	g, gctx := errgroup.WithContext(ctx)
	l := listen(wire.ServiceSnapshots)
	defer context.AfterFunc(gctx, func() { _ = server.Close() })()
	g.Go(func() error {
		if err := server.Serve(gctx, l); err != nil && !errors.Is(err, ttrpc.ErrServerClosed) {
			return fmt.Errorf("serve snapshots: %w", err)
		}
		return io.EOF // ends the other services, too
	})
	g.Go(func() error { return serveStreams(gctx, listen(wire.ServiceApply), s.ServeApply) })
	g.Go(func() error { return serveStreams(gctx, listen(wire.ServiceDiff), s.ServeDiff) })
	if err := g.Wait(); err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
		return err
	}
	return nil
}

// serveStreams serves each connection of l until ctx ends, and waits for them.
func serveStreams(ctx context.Context, l net.Listener, serve func(context.Context, net.Conn, []byte)) error {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var g errgroup.Group
	defer func() { _ = g.Wait() }()
	for {
		conn, err := l.Accept()
		if err != nil {
			_ = l.Close()
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return io.EOF
			}
			return fmt.Errorf("accept stream: %w", err)
		}
		g.Go(func() error {
			serve(ctx, conn, headerOf(conn))
			return nil
		})
	}
}

func headerOf(conn net.Conn) []byte {
	if h, ok := conn.(interface{ Header() []byte }); ok {
		return h.Header()
	}
	return nil
}

// ServeApply unpacks the layer that arrives on conn into the snapshot header
// names, answers and closes conn.
func (s *Store) ServeApply(ctx context.Context, conn net.Conn, header []byte) {
	s.serve(ctx, conn, wire.ServiceApply, func() (wire.Result, error) {
		req, err := wire.ParseApply(header)
		if err != nil {
			return wire.Result{}, err
		}
		return s.Apply(ctx, req, conn)
	})
}

// ServeDiff sends the layer header asks for on conn and closes it.
func (s *Store) ServeDiff(ctx context.Context, conn net.Conn, header []byte) {
	s.serve(ctx, conn, wire.ServiceDiff, func() (wire.Result, error) {
		req, err := wire.ParseDiff(header)
		if err != nil {
			return wire.Result{}, err
		}
		return s.Diff(ctx, req, wire.NewDataWriter(conn))
	})
}

// serve runs the service of one stream and ends the stream with its outcome.
func (s *Store) serve(ctx context.Context, conn net.Conn, service string, run func() (wire.Result, error)) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	result, err := run()
	if err != nil {
		s.log.Warn("stream failed", "service", service, "error", err)
		err = wire.WriteError(conn, err)
	} else {
		err = wire.WriteResult(conn, result)
	}
	if err == nil {
		err = linger(conn)
	}
	if err != nil && !errors.Is(err, net.ErrClosed) {
		s.log.Debug("stream ended early", "service", service, "error", err)
	}
}

// linger reads what still arrives until the other side, having read the answer,
// closes the stream. Closing it first could throw the answer away.
func linger(conn net.Conn) error {
	if err := wire.CloseWrite(conn); err != nil && !errdefs.IsNotImplemented(err) {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(lingering)); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, conn)
	return err
}
