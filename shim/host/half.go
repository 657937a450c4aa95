// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	"github.com/container-offload/offload/resident"
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
	idle   *resident.Keeper

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
	// abandoned says that the pod is being ended for want of a DPU half.
	abandoned bool
}

// claim makes the pod's directory, which says that this process has the pod. One
// that a dead half has left, with its containers, is removed first.
func (h *half) claim(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(h.dir), 0o711); err != nil {
		return fmt.Errorf("claim shim %s: %w", h.target, err)
	}
	err := os.Mkdir(h.dir, 0o711)
	if errors.Is(err, fs.ErrExist) {
		if err = removeDead(ctx, h.cfg, h.target.Namespace, h.dir); err == nil {
			err = os.Mkdir(h.dir, 0o711)
		}
	}
	if err != nil {
		return fmt.Errorf("claim shim %s: %w", h.target, err)
	}
	pid := []byte(strconv.Itoa(os.Getpid()))
	if err := os.WriteFile(filepath.Join(h.dir, launcher.PIDFile), pid, 0o600); err != nil {
		return errors.Join(fmt.Errorf("claim shim %s: %w", h.target, err), os.RemoveAll(h.dir))
	}
	return nil
}

// serve answers sessions until the pod is shut down: the first one, and those that
// takeMore brings.
func (h *half) serve(ctx context.Context, first *session.Session, takeMore func()) error {
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
	go takeMore()
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
	replaced := make(chan struct{})
	h.changed = replaced
	h.mu.Unlock()
	go h.watch(ctx, sess, replaced)
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
			h.idle.Worked()
			defer h.idle.Worked()
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
// resume a session, and those of a DPU half of the same name that was started
// anew, to which this pod gives way.
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
	target, err := link.ParseTarget(a.Target)
	if err != nil {
		conn.Close()
		return err
	}
	if target.Create {
		return h.giveWay(ctx, target, conn, handovers)
	}
	sess, fresh, err := h.accept(ctx, target, conn, handovers)
	if err != nil {
		return err
	}
	if fresh {
		h.attach(ctx, sess)
	}
	return nil
}

// giveWay ends this pod for a new one of its name: the DPU asks for one only if
// it has no half for this one any more, as after its reboot.
func (h *half) giveWay(ctx context.Context, target link.Target, f *os.File, handovers *link.Handovers) error {
	defer f.Close()
	incoming, err := handovers.Take(f, target)
	if err != nil {
		return err
	}
	// Only to the DPU's face: refusing begins with its proof of who it is.
	if err := incoming.Refuse(ctx, errors.New(wire.GivesWay)); err != nil {
		return err
	}
	h.abandon(ctx, errors.New("the DPU asks for a new one of its name"))
	return nil
}

// accept completes a connection: it makes sure of the peer and of the target.
func (h *half) accept(ctx context.Context, target link.Target, f *os.File, handovers *link.Handovers) (*session.Session, bool, error) {
	defer f.Close()
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
