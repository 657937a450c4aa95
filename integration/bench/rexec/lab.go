// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/container-offload/offload/integration/bench"
	"github.com/container-offload/offload/rexec/relay"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/pki"
	"github.com/container-offload/offload/udsbridge/session"
)

// allow lets the two programs of the benchmark run.
const allow = `version = 1
[[allow]]
program = "/usr/bin/*"
[[allow]]
program = "/bin/*"
`

// lab has the servers of all ways.
type lab struct {
	dir  string
	undo []func()
}

func (l *lab) close() {
	for i := len(l.undo) - 1; i >= 0; i-- {
		l.undo[i]()
	}
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

// ways starts every server.
func (l *lab) ways(ctx context.Context, program string) ([]way, error) {
	if err := pki.Init(l.dir, pki.Options{}); err != nil {
		return nil, err
	}
	if err := os.WriteFile(l.path("allow.toml"), []byte(allow), 0o600); err != nil {
		return nil, err
	}
	addr := bench.FreePort()
	err := l.start(ctx, program, "serve", "--allow", l.path("allow.toml"), "--dir", l.path("own"),
		"--socket", l.path("server.sock"), "--listen", "tcp://"+addr,
		"--ca", l.path(pki.CACert), "--cert", l.path("host.crt"), "--key", l.path("host.key"))
	if err != nil {
		return nil, err
	}
	if err := bench.AwaitServer("tcp", addr); err != nil {
		return nil, err
	}
	if err := l.carry(ctx); err != nil {
		return nil, err
	}
	ssh, err := l.ssh(ctx)
	if err != nil {
		return nil, err
	}
	return append([]way{
		{name: "rexec by the daemons, TLS", argv: []string{program, "--connect", "unix://" + l.path("client.sock")}},
		{name: "rexec, a TLS connection each", argv: []string{
			program, "--connect", "tcp://" + addr,
			"--ca", l.path(pki.CACert), "--cert", l.path("dpu.crt"), "--key", l.path("dpu.key"),
		}},
	}, ssh...), nil
}

// carry does what both daemons do for clients: it carries their connections over one
// session with TLS. It does so in one process, which makes nothing faster: two would
// have a second processor.
func (l *lab) carry(ctx context.Context) error {
	log := slog.New(slog.DiscardHandler)
	security := func(role pki.Role) (link.Security, error) {
		c, err := pki.LoadTLS(role, pki.In(l.dir, role))
		return link.Security{TLS: c}, err
	}
	host, hostErr := security(pki.RoleHost)
	dpu, dpuErr := security(pki.RoleDPU)
	if err := errors.Join(hostErr, dpuErr); err != nil {
		return err
	}
	far, err := link.Listen(ctx, link.Address{Scheme: link.SchemeTCP, Host: "127.0.0.1"}, host)
	if err != nil {
		return err
	}
	l.undo = append(l.undo, func() { far.Close() })
	acceptor := session.NewAcceptor(session.Config{})
	go func() {
		for {
			in, err := far.Accept()
			if err != nil {
				return
			}
			go func() {
				conn, err := in.Handshake(ctx)
				if err != nil {
					return
				}
				if s, fresh, err := acceptor.Handle(ctx, conn); err == nil && fresh {
					relay.In(ctx, s.Listen(relay.Service), func(ctx context.Context) (net.Conn, error) {
						var d net.Dialer
						return d.DialContext(ctx, "unix", l.path("server.sock"))
					}, log)
				}
			}()
		}
	}()
	d := &link.Dialer{Address: far.Addr(), Security: dpu}
	s, err := session.Dial(ctx, func(ctx context.Context) (net.Conn, error) {
		return d.Dial(ctx, link.Target{Kind: link.KindAgent})
	}, session.Config{})
	if err != nil {
		return err
	}
	l.undo = append(l.undo, func() { s.Close() })
	near, err := relay.Listen(l.path("client.sock"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	l.undo = append(l.undo, cancel)
	go func() {
		// It ends with the lab.
		_ = relay.Out(ctx, near, func(ctx context.Context) (net.Conn, error) { return s.Open(ctx, relay.Service, nil) }, time.Minute, log)
	}()
	return nil
}

// ssh starts a server with keys of its own, and returns the two ways over it.
func (l *lab) ssh(ctx context.Context) ([]way, error) {
	sshd := "/usr/sbin/sshd"
	if _, err := os.Stat(sshd); err != nil {
		return nil, fmt.Errorf("no sshd to compare with: %w", err)
	}
	for _, key := range []string{"id-host", "id-user"} {
		if out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", l.path(key)).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("make a key: %w: %s", err, out)
		}
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return nil, err
	}
	addr := bench.FreePort()
	_, port, _ := net.SplitHostPort(addr)
	// The shell that sshd starts must not spend its time on somebody's .bashrc.
	config := fmt.Sprintf("ListenAddress 127.0.0.1\nPort %s\nHostKey %[2]s/id-host\nAuthorizedKeysFile %[2]s/id-user.pub\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nSetEnv HOME=%[2]s\n", port, l.dir)
	if err := os.WriteFile(l.path("sshd_config"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	if err := l.start(ctx, sshd, "-D", "-e", "-f", l.path("sshd_config")); err != nil {
		return nil, err
	}
	if err := bench.AwaitServer("tcp", addr); err != nil {
		return nil, err
	}
	each := []string{
		"ssh", "-F", "none", "-i", l.path("id-user"), "-p", port, "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
	}
	kept := append(append([]string(nil), each...), "-o", "ControlPath="+l.path("control"))
	master := append(append([]string(nil), kept[1:]...), "-M", "-N", "root@127.0.0.1")
	if err := l.start(ctx, "ssh", master...); err != nil {
		return nil, err
	}
	if err := bench.AwaitServer("unix", l.path("control")); err != nil {
		return nil, err
	}
	return []way{
		{name: "ssh with ControlMaster", peer: true, argv: append(kept, "root@127.0.0.1")},
		{name: "ssh", peer: true, argv: append(each, "root@127.0.0.1")},
	}, nil
}

// start starts a program that ends with the lab.
func (l *lab) start(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return err
	}
	l.undo = append(l.undo, func() {
		_ = cmd.Process.Signal(os.Interrupt)
		ended := time.AfterFunc(3*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		ended.Stop()
	})
	return nil
}
