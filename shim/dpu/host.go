// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	eventsapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/status"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/resident"
	"github.com/container-offload/offload/shim/shadow"
	"github.com/container-offload/offload/shim/wire"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/session"
)

// host is the connection to the HOST half. It is made once, in the background.
type host struct {
	ready  chan struct{} // closed when the fields below are set
	err    error
	cfg    *config.DPU // nil if it can't be read
	sess   *session.Session
	client *ttrpc.Client
	task   taskapi.TTRPCTaskService

	closing atomic.Bool
}

// connect dials the HOST half and, once connected, serves what it may ask for.
// The loss of an established session ends the shim: containerd then has the
// HOST cleaned up and the task reported dead.
func connect(ctx context.Context, s *Service) *host {
	h := &host{ready: make(chan struct{})}
	cfg, err := loadConfig()
	if err != nil {
		h.err = err
		close(h.ready)
		return h
	}
	h.cfg = cfg
	s.shadows = shadow.NewRegistry(shadowDir(cfg))
	go func() {
		defer close(h.ready)
		h.err = h.dial(ctx, cfg, s)
	}()
	return h
}

func (h *host) dial(ctx context.Context, cfg *config.DPU, s *Service) error {
	sess, err := dialNew(ctx, cfg, s.ns, s.shimID)
	if err != nil {
		return err
	}
	stream, err := sess.Open(ctx, wire.ServiceTask, nil)
	if err != nil {
		sess.Close()
		return err
	}
	quiet := silence{patience: cfg.Link.ResumeTimeout.Duration() + answerTimeout, end: func() { sess.Abort(errSilent) }}
	idle := resident.New(resident.Idle)
	h.sess, h.client = sess, ttrpc.NewClient(stream, ttrpc.WithChainUnaryClientInterceptor(worked(idle), quiet.intercept))
	h.task = taskapi.NewTTRPCTaskClient(h.client)
	go s.files.serve(ctx, sess)
	go s.files.serveSockets(ctx, sess.Listen(wire.ServiceSocket))
	go s.networks.serveDNS(sess.Listen(wire.ServiceNetworkDNS))
	go s.serveEvents(ctx, sess.Listen(wire.ServiceEvents))
	go func() {
		<-sess.Done()
		if !h.closing.Load() {
			s.log.Error("lost the HOST half", "error", sess.Err())
			s.shutdown.Shutdown()
		}
	}()
	return nil
}

// worked tells idle of each call.
func worked(idle *resident.Keeper) ttrpc.UnaryClientInterceptor {
	return func(ctx context.Context, req *ttrpc.Request, resp *ttrpc.Response, _ *ttrpc.UnaryClientInfo, invoke ttrpc.Invoker) error {
		idle.Worked()
		defer idle.Worked()
		return invoke(ctx, req, resp)
	}
}

const (
	// giveWayTimeout bounds how long an earlier pod of the same name may take to
	// end, giveWayPause is the pause between two looks.
	giveWayTimeout = 15 * time.Second
	giveWayPause   = 100 * time.Millisecond
)

// dialNew opens a session to a new HOST half.
func dialNew(ctx context.Context, cfg *config.DPU, ns, id string) (*session.Session, error) {
	deadline := time.Now().Add(giveWayTimeout)
	for {
		var fresh atomic.Bool
		fresh.Store(true)
		sess, err := dialFunc(ctx, cfg, func() link.Target {
			// Only the first connection may make a HOST half: one that is gone
			// took its containers with it.
			return link.Target{Kind: link.KindShim, Namespace: ns, ID: id, Create: fresh.Swap(false)}
		})
		var refused *link.RefusedError
		if !errors.As(err, &refused) || refused.Reason != wire.GivesWay || time.Now().After(deadline) {
			return sess, err
		}
		select {
		case <-time.After(giveWayPause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (s *Service) serveEvents(ctx context.Context, l net.Listener) {
	server, err := ttrpc.NewServer()
	if err != nil {
		s.log.Error("serve events", "error", err)
		return
	}
	defer server.Close()
	eventsapi.RegisterTTRPCEventsService(server, &eventForwarder{s})
	if err := server.Serve(ctx, l); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, ttrpc.ErrServerClosed) {
		s.log.Debug("serve events", "error", err)
	}
}

// configured fails if there is no configuration, which is known at once.
func (h *host) configured() error {
	if h.cfg == nil {
		return fmt.Errorf("%w: %w", h.err, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// session returns the session once it is there.
func (h *host) session(ctx context.Context) (*session.Session, error) {
	select {
	case <-h.ready:
		if h.err != nil {
			return nil, fmt.Errorf("%w: %w", h.err, errdefs.ErrUnavailable)
		}
		return h.sess, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("connect to the HOST: %w", ctx.Err())
	}
}

// tasks returns the task API of the HOST half.
func (h *host) tasks(ctx context.Context) (taskapi.TTRPCTaskService, error) {
	if _, err := h.session(ctx); err != nil {
		return nil, err
	}
	return h.task, nil
}

// explain turns the error of a call into one for containerd: the HOST's own, or
// the end of the session if that is the reason.
func (h *host) explain(err error) error {
	if errors.Is(err, ttrpc.ErrClosed) {
		select {
		case <-h.sess.Done():
			return errgrpc.ToGRPC(fmt.Errorf("%w: %w", h.sess.Err(), errdefs.ErrUnavailable))
		default:
		}
	}
	if st, ok := status.FromError(err); ok {
		// Its code and a bounded text are all that is believed.
		err = status.Error(st.Code(), localText(st.Message()))
	}
	return errgrpc.ToGRPC(wire.Native(err))
}

func (h *host) close() {
	h.closing.Store(true)
	<-h.ready
	if h.sess != nil {
		h.client.Close()
		h.sess.Close()
	}
}

// dial opens a session to one target.
func dial(ctx context.Context, cfg *config.DPU, target link.Target) (*session.Session, error) {
	return dialFunc(ctx, cfg, func() link.Target { return target })
}

// memoryBytes bounds what a HOST can make the half of one pod keep: there are many.
const memoryBytes = 32 << 20

func dialFunc(ctx context.Context, cfg *config.DPU, target func() link.Target) (*session.Session, error) {
	dialer, err := cfg.Dialer()
	if err != nil {
		return nil, err
	}
	dialer.Patient = true
	return session.Dial(ctx, func(ctx context.Context) (net.Conn, error) {
		return dialer.Dial(ctx, target())
	}, session.Config{Name: "HOST " + cfg.Link.Address, ResumeTimeout: cfg.Link.ResumeTimeout.Duration(), MemoryBytes: memoryBytes})
}

// loadConfig reads the DPU's configuration from where OFFLOAD_CONFIG says, or
// from the usual place.
func loadConfig() (*config.DPU, error) {
	path := os.Getenv("OFFLOAD_CONFIG")
	if path == "" {
		path = config.DefaultDPUPath
	}
	return config.LoadDPU(path)
}

func shadowDir(cfg *config.DPU) string { return filepath.Join(cfg.State.Dir, "shadows") }
