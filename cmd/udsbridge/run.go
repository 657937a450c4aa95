// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/container-offload/offload/agent/passing"
	"github.com/container-offload/offload/udsbridge/bridge"
	"github.com/container-offload/offload/udsbridge/bridge/policy"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/pki"
	"github.com/container-offload/offload/udsbridge/session"
)

// options are what the command line says.
type options struct {
	listen, dial   string
	allow, serve   []string
	as, technique  string
	files          []string
	runtime        string
	identity       pki.Files
	insecure       bool
	peerCID        uint32
	resume         time.Duration
	verbose        bool
	redialInterval time.Duration // 0 means the default; shorter in tests
}

// none stands for an address that is not given.
const none = "-"

// run serves until ctx ends.
func (o options) run(ctx context.Context, log *slog.Logger) error {
	rules, err := o.rules()
	if err != nil {
		return err
	}
	rules.Logger, rules.Files = log, passing.Files{Log: log}
	both := o.listen != none && o.dial != none
	switch {
	case o.listen == none && o.dial == none:
		return errors.New("ADDR and PEER can't both be -")
	case both && o.identity.CA != "":
		return errors.New("with certificates one machine dials (its ADDR is -) and the other awaits it (its PEER is -)")
	}
	b, err := bridge.New(rules)
	if err != nil {
		return err
	}
	defer b.Close()
	g, ctx := errgroup.WithContext(ctx)
	if o.listen != none {
		g.Go(func() error { return o.await(ctx, b, log) })
	}
	if o.dial != none {
		g.Go(func() error { return o.keepDialled(ctx, b, log) })
	}
	return g.Wait()
}

// rules turns the command line into rules.
func (o options) rules() (bridge.Options, error) {
	out := bridge.Options{Dirs: o.files, Runtime: o.runtime}
	if len(o.allow)+len(o.serve) == 0 {
		return out, errors.New("neither --allow nor --serve: nothing can be reached")
	}
	for _, a := range o.allow {
		path, there, _ := strings.Cut(a, "=")
		out.Connect = append(out.Connect, policy.Connect{Path: path, PeerPath: there, Technique: policy.Technique(o.technique)})
	}
	as, err := policy.ParseIdentity(o.as)
	if err != nil {
		return out, fmt.Errorf("--as: %w", err)
	}
	for _, s := range o.serve {
		out.Serve = append(out.Serve, policy.Serve{Path: s, As: as})
	}
	return out, nil
}

func (o options) security(role pki.Role) (link.Security, error) {
	s := link.Security{Insecure: o.insecure, PeerCID: o.peerCID}
	if o.identity.CA == "" && o.identity.Cert == "" && o.identity.Key == "" {
		return s, nil
	}
	var err error
	s.TLS, err = pki.LoadTLS(role, o.identity)
	return s, err
}

func (o options) session(name string, log *slog.Logger) session.Config {
	return session.Config{Name: name, ResumeTimeout: o.resume, MaxStreams: maxStreams, Logger: log}
}

// maxStreams bounds the connections of the other machine that are open at once.
const maxStreams = 65536

// await serves the sessions that the other machine begins.
func (o options) await(ctx context.Context, b *bridge.Bridge, log *slog.Logger) error {
	address, err := link.ParseAddress(o.listen)
	if err != nil {
		return err
	}
	security, err := o.security(pki.RoleHost)
	if err != nil {
		return err
	}
	l, err := link.Listen(ctx, address, security)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	acceptor := session.NewAcceptor(o.session("the machine that dials "+o.listen, log))
	for {
		in, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("await the other machine: %w", err)
		}
		go func() {
			if err := take(ctx, b, acceptor, in); err != nil && ctx.Err() == nil {
				log.Warn("link", "peer", in.Peer, "error", err)
			}
		}()
	}
}

// take serves the session that a connection begins, or resumes one.
func take(ctx context.Context, b *bridge.Bridge, a *session.Acceptor, in *link.Incoming) error {
	conn, err := in.Handshake(ctx)
	if err != nil {
		return err
	}
	s, fresh, err := a.Handle(ctx, conn)
	if err != nil || !fresh {
		return err
	}
	return serve(ctx, b, s)
}

func serve(ctx context.Context, b *bridge.Bridge, s *session.Session) error {
	defer s.Close()
	return b.Serve(ctx, s)
}

// redialInterval is the pause between attempts to begin a session.
const redialInterval = time.Second

// keepDialled keeps a session with the other machine.
func (o options) keepDialled(ctx context.Context, b *bridge.Bridge, log *slog.Logger) error {
	address, err := link.ParseAddress(o.dial)
	if err != nil {
		return err
	}
	security, err := o.security(pki.RoleDPU)
	if err != nil {
		return err
	}
	if err := security.Validate(address); err != nil {
		return err
	}
	d := &link.Dialer{Address: address, Security: security}
	interval := o.redialInterval
	if interval == 0 {
		interval = redialInterval
	}
	for {
		s, err := session.Dial(ctx, func(ctx context.Context) (net.Conn, error) {
			return d.Dial(ctx, link.Target{Kind: link.KindAgent})
		}, o.session(o.dial, log))
		if err == nil {
			err = serve(ctx, b, s)
		}
		if ctx.Err() != nil {
			return nil
		}
		log.Warn("link", "peer", o.dial, "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
	}
}
