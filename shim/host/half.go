// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/ttrpc"

	"github.com/container-offload/offload/config"
	nethost "github.com/container-offload/offload/network/host"
	"github.com/container-offload/offload/shim/launcher"
	"github.com/container-offload/offload/shim/wire"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/session"
)

// half is a HOST half that has become a pod's.
type half struct {
	cfg    *config.Host
	log    *slog.Logger
	target link.Target
	dir    string
	noTime bool // there are no time namespaces here

	acceptor *session.Acceptor
	shutdown shutdown.Service
	stdio    *stdioTable
	files    *files
	netns    *netNamespaces
	networks *nethost.Networks
	tasks    *service
	events   eventClient

	mu      sync.Mutex
	current *session.Session
	changed chan struct{} // closed and replaced when current is
}

// claim makes the pod's directory, which says that this process has the pod.
func (h *half) claim() error {
	if err := os.MkdirAll(filepath.Dir(h.dir), 0o711); err != nil {
		return fmt.Errorf("claim shim %s: %w", h.target, err)
	}
	if err := os.Mkdir(h.dir, 0o711); err != nil {
		return fmt.Errorf("claim shim %s: %w", h.target, err)
	}
	pid := []byte(strconv.Itoa(os.Getpid()))
	if err := os.WriteFile(filepath.Join(h.dir, launcher.PIDFile), pid, 0o600); err != nil {
		return errors.Join(fmt.Errorf("claim shim %s: %w", h.target, err), os.RemoveAll(h.dir))
	}
	return nil
}

// serve answers sessions until the pod is shut down.
func (h *half) serve(ctx context.Context, first *session.Session) error {
	ctx, sd := shutdown.WithShutdown(namespaces.WithNamespace(ctx, h.target.Namespace))
	h.shutdown = sd
	events := &publisher{half: h, drained: make(chan struct{})}
	inner, err := task.NewTaskService(ctx, events, sd)
	if err != nil {
		return errors.Join(fmt.Errorf("start task service: %w", err), h.clean())
	}
	h.stdio = newStdioTable()
	h.files = &files{half: h, dir: filepath.Join(h.dir, "files")}
	h.netns = &netNamespaces{}
	h.networks = h.newNetworks()
	h.tasks = &service{TTRPCTaskService: inner, half: h}
	h.attach(ctx, first)
	<-sd.Done()
	events.awaitDrained()
	return nil
}

// attach makes sess the one that events and file requests go to, and serves it.
func (h *half) attach(ctx context.Context, sess *session.Session) {
	h.mu.Lock()
	h.current = sess
	if h.changed != nil {
		close(h.changed)
	}
	h.changed = make(chan struct{})
	h.mu.Unlock()
	go h.serveTasks(ctx, sess.Listen(wire.ServiceTask))
	go h.serveStdio(sess.Listen(wire.ServiceStdio))
	go h.serveNetworks(sess.Listen(wire.ServiceNetwork))
}

// session returns the current session and a channel that closes when it is
// replaced.
func (h *half) session() (*session.Session, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current, h.changed
}

func (h *half) serveTasks(ctx context.Context, l net.Listener) {
	server, err := ttrpc.NewServer(ttrpc.WithUnaryServerInterceptor(
		func(ctx context.Context, u ttrpc.Unmarshaler, _ *ttrpc.UnaryServerInfo, m ttrpc.Method) (any, error) {
			// The namespace is the pod's, whatever the request says.
			return m(namespaces.WithNamespace(ctx, h.target.Namespace), u)
		}))
	if err != nil {
		h.log.Error("serve tasks", "error", err)
		return
	}
	defer server.Close()
	taskapi.RegisterTTRPCTaskService(server, h.tasks)
	if err := server.Serve(ctx, l); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, ttrpc.ErrServerClosed) {
		h.log.Debug("serve tasks", "error", err)
	}
}

// serveStdio puts incoming streams where the task they belong to finds them.
func (h *half) serveStdio(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		st, ok := c.(*session.Stream)
		if !ok {
			c.Close()
			continue
		}
		header, err := wire.ParseStdioHeader(st.Header())
		if err == nil {
			err = h.stdio.put(header, st)
		}
		if err != nil {
			st.Reset(err)
		}
	}
}

// maxHandovers is how many connections may be on their way to prove that they are
// the DPU's. Whoever knows the pod's name can make one.
const maxHandovers = 16

// takeHandovers serves connections that the agent hands over later: those that
// resume a session, and those of a DPU half that was started anew.
func (h *half) takeHandovers(ctx context.Context, l *net.UnixListener, security link.Security) {
	handovers := link.NewHandovers(security, maxHandovers)
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if err := h.takeHandover(ctx, c, handovers); err != nil {
				h.log.Warn("handover", "error", err)
			}
		}()
	}
}

func (h *half) takeHandover(ctx context.Context, c *net.UnixConn, handovers *link.Handovers) error {
	a, conn, err := receive(c)
	if err != nil {
		return err
	}
	sess, fresh, err := h.accept(ctx, a, conn, handovers)
	if err != nil {
		return err
	}
	if fresh {
		h.attach(ctx, sess)
	}
	return nil
}

// accept completes a connection: it makes sure of the peer and of the target.
func (h *half) accept(ctx context.Context, a launcher.Assignment, f *os.File, handovers *link.Handovers) (*session.Session, bool, error) {
	defer f.Close()
	target, err := link.ParseTarget(a.Target)
	if err != nil {
		return nil, false, err
	}
	incoming, err := handovers.Take(f, target)
	if err != nil {
		return nil, false, err
	}
	conn, err := incoming.Handshake(ctx)
	if err != nil {
		return nil, false, err
	}
	return h.acceptor.Handle(ctx, conn)
}

// clean removes the pod's directory and every mount in it.
func (h *half) clean() error {
	var errs []error
	if h.files != nil {
		errs = append(errs, h.files.close())
	}
	if h.netns != nil {
		h.netns.close()
	}
	return errors.Join(append(errs, removeTree(h.dir))...)
}
