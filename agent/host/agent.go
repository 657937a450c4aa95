// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package host is the HOST's agent: it awaits the DPU, owns the snapshot store
// and the file server, and starts the HOST halves of shims.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"

	"github.com/container-offload/offload/agent"
	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/machine"
	"github.com/container-offload/offload/plugins/store"
	"github.com/container-offload/offload/remotefs/server"
	"github.com/container-offload/offload/resident"
	"github.com/container-offload/offload/shim/launcher"
	"github.com/container-offload/offload/shim/wire"
	"github.com/container-offload/offload/status"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/session"
)

// TreeExport is the name under which the DPU mounts the store's tree.
const TreeExport = "tree"

// ServiceFiles is the service of the agent's session that serves files.
const ServiceFiles = "files"

// maxStreams is how many streams the DPU may have open at once; each connection to a
// bridged socket is one.
const maxStreams = 16384

// Agent is a running agent.
type Agent struct {
	cfg      *config.Host
	started  time.Time
	log      *slog.Logger
	store    *store.Store
	files    *server.Server
	shims    *launcher.Launcher
	bridging *agent.Bridging
	program  string // of the shim's HOST half
	acceptor *session.Acceptor
	rexec    *agent.Rexec

	mu       sync.Mutex
	sessions map[*session.Session]time.Time // since when
}

// Run serves until ctx ends. configPath is handed on to the shims.
func Run(ctx context.Context, cfg *config.Host, configPath string, log *slog.Logger) error {
	a, closeAgent, err := newAgent(ctx, cfg, configPath, log)
	if err != nil {
		return err
	}
	defer closeAgent()
	security, err := cfg.Security()
	if err != nil {
		return err
	}
	address, err := link.ParseAddress(cfg.Link.Listen)
	if err != nil {
		return err
	}
	if cfg.Link.Insecure {
		log.Warn("the link is not protected: whoever reaches it rules this machine", "listen", cfg.Link.Listen)
	}
	about, err := agent.Listen(ctx, cfg.State.Dir, cfg.Metrics.Listen, log)
	if err != nil {
		return err
	}
	defer about.Close()
	l, err := link.Listen(ctx, address, security)
	if err != nil {
		return err
	}
	mux := status.Handler(a.Report, nil)
	a.bridging.Handle(mux)
	about.Serve(ctx, mux, a.Report)
	go a.rexec.ServeClients(ctx, a.openRexec)
	defer about.Ready()()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	for {
		in, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept the DPU's connections: %w", err)
		}
		go a.dispatch(ctx, in)
	}
}

func newAgent(ctx context.Context, cfg *config.Host, configPath string, log *slog.Logger) (_ *Agent, closeAgent func(), err error) {
	a := &Agent{
		cfg: cfg, log: log, started: time.Now(), sessions: make(map[*session.Session]time.Time),
		acceptor: session.NewAcceptor(session.Config{
			Name: "DPU", ResumeTimeout: cfg.Link.ResumeTimeout.Duration(), MaxStreams: maxStreams, Logger: log,
		}),
	}
	a.files = server.New(server.Options{Logger: log})
	a.store, err = store.New(ctx, store.Options{Root: cfg.Store.Root, Tree: cfg.Store.Tree, Log: log})
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			a.store.Close()
		}
	}()
	err = a.files.Add(server.Export{
		Name: TreeExport, Path: cfg.Store.Tree, CrossMounts: true, Resolve: a.store.Resolve,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("export %s: %w", cfg.Store.Tree, err)
	}
	if cfg.Views.Enabled {
		if err := a.exportViews(); err != nil {
			return nil, nil, err
		}
	}
	for _, e := range cfg.Exports {
		if err := a.export(e); err != nil {
			return nil, nil, err
		}
	}
	if a.bridging, err = newBridging(cfg, log); err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			a.bridging.Close()
		}
	}()
	if a.program, err = cfg.Shim.Locate(); err != nil {
		return nil, nil, err
	}
	a.shims, err = launcher.New(launcher.Config{
		Binary: a.program, Env: []string{"OFFLOAD_CONFIG=" + configPath},
		Runc: cfg.Shim.Runc, State: cfg.Shim.State, Warm: cfg.Shim.Warm, Logger: log,
	})
	if err != nil {
		return nil, nil, err
	}
	a.rexec, err = agent.NewRexec(ctx, cfg.Rexec, cfg.State.Dir, "DPU", cfg.Link.ResumeTimeout.Duration(), log)
	if err != nil {
		a.bridging.Close()
		a.shims.Close()
		return nil, nil, err
	}
	return a, func() { a.rexec.Close(); a.bridging.Close(); a.shims.Close(); a.store.Close() }, nil
}

// views are what daemons on the DPU are shown of this machine.
var views = []server.Export{
	{Name: "proc", Path: "/proc", ReadOnly: true},
	{Name: "cgroup", Path: "/sys/fs/cgroup", ReadOnly: true, CrossMounts: true},
}

func (a *Agent) exportViews() error {
	// What it says is true until this machine's next boot, or the next start.
	about := filepath.Join(a.cfg.State.Dir, machine.Export)
	if err := machine.Write(about); err != nil {
		return err
	}
	for _, e := range append(slices.Clone(views), server.Export{Name: machine.Export, Path: about, ReadOnly: true}) {
		if err := a.files.Add(e); err != nil {
			return fmt.Errorf("export %s: %w", e.Path, err)
		}
	}
	return nil
}

// dispatch gives a connection to whom it is for.
func (a *Agent) dispatch(ctx context.Context, in *link.Incoming) {
	defer in.Close()
	log := a.log.With("peer", in.Peer, "target", in.Target.String())
	if in.Target.Kind == link.KindShim {
		err := a.shims.Dispatch(ctx, in)
		if err == nil {
			return
		}
		if !errdefs.IsNotFound(err) {
			log.Warn("connection for a shim", "error", err)
			return
		}
		// The half is gone. The session it asks to resume is unknown here too,
		// which is the answer the DPU needs.
	}
	conn, err := in.Handshake(ctx)
	if err != nil {
		log.Warn("refused connection", "error", err)
		return
	}
	sess, fresh, err := a.acceptor.Handle(ctx, conn)
	if err != nil {
		log.Warn("refused session", "error", err)
		return
	}
	if fresh {
		a.serve(ctx, sess)
	}
}

// serve offers the agent's services on a session until it ends.
func (a *Agent) serve(ctx context.Context, sess *session.Session) {
	defer sess.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer a.remember(sess)()
	go a.serveStatus(ctx, sess.Listen(status.Service))
	go func() {
		if err := a.store.Serve(ctx, sess.Listen); err != nil && !errors.Is(err, net.ErrClosed) {
			a.log.Warn("serve snapshots", "error", err)
		}
	}()
	go a.serveShims(ctx, sess.Listen(wire.ServiceShims))
	go a.serveFiles(ctx, sess.Listen(ServiceFiles))
	go func() {
		if err := a.bridging.Serve(ctx, sess); err != nil {
			a.log.Debug("bridge sockets", "error", err)
		}
	}()
	go a.rexec.ServePeer(ctx, sess)
	select {
	case <-sess.Done():
		a.log.Info("session ended", "error", sess.Err())
	case <-ctx.Done():
	}
}

func (a *Agent) serveShims(ctx context.Context, l net.Listener) {
	idle := resident.New(resident.Idle)
	defer idle.Close()
	s, err := ttrpc.NewServer(ttrpc.WithUnaryServerInterceptor(
		func(ctx context.Context, u ttrpc.Unmarshaler, _ *ttrpc.UnaryServerInfo, m ttrpc.Method) (any, error) {
			defer idle.Worked()
			return m(ctx, u)
		}))
	if err != nil {
		a.log.Error("serve shims", "error", err)
		return
	}
	defer s.Close()
	a.shims.RegisterTTRPC(s)
	if err := s.Serve(ctx, l); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, ttrpc.ErrServerClosed) {
		a.log.Debug("serve shims", "error", err)
	}
}

func (a *Agent) serveFiles(ctx context.Context, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if err := a.files.Serve(ctx, c); err != nil && !errors.Is(err, net.ErrClosed) {
				a.log.Debug("serve files", "error", err)
			}
		}()
	}
}

// ConfigPath returns the absolute form of path, which the shims get.
func ConfigPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("configuration %s: %w", path, err)
	}
	if _, err := os.Stat(abs); err != nil {
		return "", fmt.Errorf("configuration: %w", err)
	}
	return abs, nil
}
