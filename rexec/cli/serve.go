// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/rexec/policy"
	"github.com/container-offload/offload/rexec/relay"
	"github.com/container-offload/offload/rexec/server"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/pki"
)

// serveFlags are the flags of serve.
type serveFlags struct {
	*protection
	socket string
	listen string
	cid    uint32
	allow  string
	dir    string
	peer   string
	resume time.Duration
	idle   time.Duration
	level  slog.LevelVar
	json   bool
}

func serveCommand(p *protection) *cobra.Command {
	s := &serveFlags{protection: p}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run programs for the peer, as far as an allow-list permits",
		Long: `serve runs programs for those who connect to its socket: the daemon of this
machine, which carries the peer's connections, or clients of this machine. With
--listen, clients of other machines reach it by tcp or vsock without any daemon;
then there is no socket unless --socket is given too. On tcp both sides need
certificates, which "offloadctl pki init" makes: role host here, role dpu there.

The allow-list must belong to root and have mode 0400 or 0600. SIGHUP has it read
again; one that is not good is reported and changes nothing. SIGTERM ends every
program and then the server.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.listen != "" && !cmd.Flags().Changed("socket") {
				s.socket = ""
			}
			return s.serve(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.socket, "socket", "/run/offload/rexec-server.sock", "`path` of the socket")
	f.StringVar(&s.listen, "listen", "", "`address` for clients of other machines: tcp://HOST:PORT or vsock://CID:PORT")
	f.Uint32Var(&s.cid, "peer-cid", 0, "take only connections of this vsock context `id`")
	f.StringVar(&s.allow, "allow", "/etc/offload/rexec.toml", "allow-list `file`")
	f.StringVar(&s.dir, "dir", "/run/offload/rexec", "`directory` for the server's own use")
	f.StringVar(&s.peer, "peer", "local", "`name` of who connects, for the log")
	f.DurationVar(&s.resume, "resume-timeout", 5*time.Minute, "how long a client may be out of reach")
	f.DurationVar(&s.idle, "idle", 0, "end after so much time without anything to do; 0 is never")
	f.TextVar(&s.level, "log-level", &s.level, "least important `level` that is logged: debug, info, warn or error")
	f.BoolVar(&s.json, "log-json", false, "log objects of JSON, one a line")
	return cmd
}

func (f *serveFlags) serve(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
	defer stop()
	log := f.logger()
	p, err := policy.Load(f.allow)
	if err != nil {
		return err
	}
	l, far, err := f.listeners(ctx, log)
	if err != nil {
		return err
	}
	if l != nil {
		defer l.Close()
	}
	if far != nil {
		defer far.Close()
	}
	if err := os.MkdirAll(f.dir, 0o711); err != nil {
		return fmt.Errorf("make directory of rexec: %w", err)
	}
	s, err := server.New(server.Options{Policy: p, Dir: f.dir, ResumeTimeout: f.resume, Logger: log})
	if err != nil {
		return err
	}
	defer s.Close()
	f.reloadOn(ctx, s, log)
	if f.idle > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		go endWhenIdle(ctx, cancel, s, f.idle)
	}
	log.Debug("serving", "socket", f.socket, "listen", f.listen, "allow", f.allow)
	g, ctx := errgroup.WithContext(ctx)
	if l != nil {
		g.Go(func() error { return s.Serve(ctx, l, f.peer) })
	}
	if far != nil {
		g.Go(func() error { return s.ServeLink(ctx, far) })
	}
	return g.Wait()
}

// listeners returns those that are asked for.
func (f *serveFlags) listeners(ctx context.Context, log *slog.Logger) (near *net.UnixListener, far *link.Listener, err error) {
	if f.listen != "" {
		if far, err = f.listenFar(ctx, log); err != nil {
			return nil, nil, err
		}
	}
	if f.socket != "" {
		if near, err = relay.Listen(f.socket); err != nil && far != nil {
			far.Close()
		}
	}
	return near, far, err
}

func (f *serveFlags) listenFar(ctx context.Context, log *slog.Logger) (*link.Listener, error) {
	a, err := link.ParseAddress(f.listen)
	if err != nil {
		return nil, err
	}
	security, err := f.security(pki.RoleHost, a, f.cid)
	if err != nil {
		return nil, err
	}
	if security.Insecure {
		log.Warn("nothing protects the server: whoever reaches it runs what the allow-list allows", "listen", f.listen)
	}
	return link.Listen(ctx, a, security)
}

func (f *serveFlags) logger() *slog.Logger {
	o := &slog.HandlerOptions{Level: &f.level}
	if f.json {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}

// reloadOn reads the allow-list again at each SIGHUP.
func (f *serveFlags) reloadOn(ctx context.Context, s *server.Server, log *slog.Logger) {
	hups := make(chan os.Signal, 1)
	signal.Notify(hups, unix.SIGHUP)
	go func() {
		defer signal.Stop(hups)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hups:
				p, err := policy.Load(f.allow)
				if err != nil {
					log.Error("the allow-list stays as it was", "error", err)
					continue
				}
				s.SetPolicy(p)
				log.Info("allow-list read again", "rules", len(p.Rules))
			}
		}
	}()
}

// endWhenIdle ends a server that has had nothing to do for long enough.
func endWhenIdle(ctx context.Context, end context.CancelFunc, s *server.Server, after time.Duration) {
	for {
		idle, changed := s.Idle()
		var expired <-chan time.Time
		if idle {
			expired = time.After(after)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-expired:
			end()
			return
		}
	}
}
