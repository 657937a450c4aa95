// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"sync"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/container-offload/offload/plugins/wire"
)

// attempts is how often a call is made before a connection that keeps breaking
// is reported. Waiting for the HOST to come back is done by open, not here.
const attempts = 3

// connection is the one stream to the snapshot service that all calls share. It
// is opened by the first call that needs it.
type connection struct {
	open    wire.Open
	opening chan struct{} // holds one token while no one opens
	mu      sync.Mutex
	client  *ttrpc.Client
	closed  bool
}

func newConnection(open wire.Open) *connection {
	c := &connection{open: open, opening: make(chan struct{}, 1)}
	c.opening <- struct{}{}
	return c
}

// call makes one call, and makes it again if the connection broke meanwhile;
// then again is true, and the call before may have been carried out.
func (c *connection) call(ctx context.Context, do func(ctx context.Context, client snapshotsapi.TTRPCSnapshotsClient, again bool) error) error {
	if ns, ok := namespaces.Namespace(ctx); ok {
		ctx = namespaces.WithNamespace(ctx, ns)
	}
	var err error
	for i := range attempts {
		var client *ttrpc.Client
		if client, err = c.get(ctx); err != nil {
			return wire.Flat(err)
		}
		err = do(ctx, snapshotsapi.NewTTRPCSnapshotsClient(client), i > 0)
		if !broken(ctx, err) {
			return wire.Flat(remote(err))
		}
		c.drop(client)
	}
	return wire.Flat(fmt.Errorf("connection to host keeps breaking: %w: %w", err, errdefs.ErrUnavailable))
}

// broken reports whether err says that the connection failed, rather than the
// call.
func broken(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() != nil || errors.Is(err, wire.ErrProtocol) {
		return false
	}
	_, answered := status.FromError(err)
	return !answered
}

// get gives the client of the connection, opening it if there is none.
func (c *connection) get(ctx context.Context) (*ttrpc.Client, error) {
	select {
	case <-c.opening:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for connection to host: %w", context.Cause(ctx))
	}
	defer func() { c.opening <- struct{}{} }()
	c.mu.Lock()
	client, closed := c.client, c.closed
	c.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("snapshotter is closed: %w", errdefs.ErrUnavailable)
	}
	if client != nil {
		return client, nil
	}
	conn, err := c.open(ctx, wire.ServiceSnapshots, nil)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("reach snapshot store on host: %w", err)
		}
		return nil, fmt.Errorf("reach snapshot store on host: %w: %w", err, errdefs.ErrUnavailable)
	}
	client = ttrpc.NewClient(conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = client.Close()
		return nil, fmt.Errorf("snapshotter is closed: %w", errdefs.ErrUnavailable)
	}
	c.client = client
	return client, nil
}

// drop gives up a client whose connection broke.
func (c *connection) drop(client *ttrpc.Client) {
	c.mu.Lock()
	if c.client == client {
		c.client = nil
	}
	c.mu.Unlock()
	_ = client.Close()
}

func (c *connection) close() error {
	c.mu.Lock()
	client := c.client
	c.client, c.closed = nil, true
	c.mu.Unlock()
	if client == nil {
		return nil
	}
	return client.Close()
}

// kinds are the kinds of error the HOST may report.
var kinds = map[codes.Code]error{
	codes.InvalidArgument:    errdefs.ErrInvalidArgument,
	codes.NotFound:           errdefs.ErrNotFound,
	codes.AlreadyExists:      errdefs.ErrAlreadyExists,
	codes.FailedPrecondition: errdefs.ErrFailedPrecondition,
	codes.ResourceExhausted:  errdefs.ErrResourceExhausted,
	codes.PermissionDenied:   errdefs.ErrPermissionDenied,
	codes.Aborted:            errdefs.ErrAborted,
	codes.OutOfRange:         errdefs.ErrOutOfRange,
	codes.Unimplemented:      errdefs.ErrNotImplemented,
	codes.Internal:           errdefs.ErrInternal,
	codes.Unavailable:        errdefs.ErrUnavailable,
	codes.DataLoss:           errdefs.ErrDataLoss,
	codes.Canceled:           context.Canceled,
	codes.DeadlineExceeded:   context.DeadlineExceeded,
}

// remote turns an error the HOST reported into one of ours. Details the HOST
// attached to it are left out: they would be decoded by type names it chose.
func remote(err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	kind := kinds[st.Code()]
	if kind == nil {
		kind = errdefs.ErrUnknown
	}
	return wire.RemoteError(st.Message(), kind)
}
