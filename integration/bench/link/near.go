// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/pki"
	"github.com/container-offload/offload/udsbridge/session"
)

// security is how both ends protect a link.
type security struct{ host, dpu link.Security }

// protection reads the certificates in dir. Without a dir there is no TLS.
func protection(dir string) (s security, err error) {
	if dir == "" {
		s.host.Insecure, s.dpu.Insecure = true, true
		return s, nil
	}
	load := func(role pki.Role) (*tls.Config, error) {
		return pki.LoadTLS(role, pki.In(dir, role))
	}
	host, hostErr := load(pki.RoleHost)
	dpu, dpuErr := load(pki.RoleDPU)
	s.host.TLS, s.dpu.TLS = host, dpu
	return s, errors.Join(hostErr, dpuErr)
}

// dialBare returns a connection without anything of ours, with TLS if s has it.
func dialBare(f *far, s security) (net.Conn, error) {
	c, err := net.Dial("tcp", f.Bare)
	if err != nil || s.dpu.TLS == nil {
		return c, err
	}
	client := tls.Client(c, s.dpu.TLS)
	return client, client.Handshake()
}

// dialSession returns a session over a link.
func dialSession(ctx context.Context, f *far, s security) (*session.Session, error) {
	d := link.Dialer{Address: link.Address{Scheme: link.SchemeTCP, Host: "127.0.0.1", Port: f.Link}, Security: s.dpu}
	return session.Dial(ctx, func(ctx context.Context) (net.Conn, error) {
		return d.Dial(ctx, link.Target{Kind: link.KindAgent})
	}, session.Config{Name: "far end"})
}
