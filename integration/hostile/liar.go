// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/container-offload/offload/integration/lab"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/pki"
	"github.com/container-offload/offload/udsbridge/session"
)

// Where the liar listens, in the HOST's environment.
const liarAddress = "tcp://" + lab.HostAddress + ":7601"

// certificates are where a lab has each side's.
const certificates = "/etc/offload/certs"

// maxStreams is how many streams the DPU may have open at once: as many as with the HOST.
const maxStreams = 16384

// Liar is for the DPU the HOST and for the HOST the DPU, until the process ends. Its
// methods may be called concurrently.
type Liar struct {
	listener *link.Listener
	acceptor *session.Acceptor
	host     *link.Dialer

	lie atomic.Pointer[Lie]
}

// Pair is a session with the DPU and the one with the HOST that it is passed on to.
type Pair struct {
	Target    link.Target
	DPU, HOST *session.Session

	liar *Liar
}

// newLiar starts a liar in the HOST's environment of a lab that has certificates.
func newLiar(l *lab.Lab) (_ *Liar, err error) {
	dir, err := os.MkdirTemp("", "offload-hostile-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	server, err := loadTLS(l.Host, dir, pki.RoleHost)
	if err != nil {
		return nil, err
	}
	client, err := loadTLS(l.DPU, dir, pki.RoleDPU)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	v := &Liar{
		acceptor: session.NewAcceptor(session.Config{Name: "DPU", MaxStreams: maxStreams}),
	}
	own, err := link.ParseAddress(liarAddress)
	if err != nil {
		return nil, err
	}
	theirs, err := link.ParseAddress(lab.LinkAddress)
	if err != nil {
		return nil, err
	}
	v.host = &link.Dialer{Address: theirs, Security: client}
	err = l.Host.Do(func() (err error) {
		v.listener, err = link.Listen(ctx, own, server)
		return err
	})
	if err != nil {
		return nil, err
	}
	go v.accept(ctx, l.Host)
	return v, nil
}

// loadTLS takes a side's certificate and key out of its environment, which no HOST
// could do with the DPU's; but the liar needs to be both ends to pass on the truth.
func loadTLS(env *lab.Env, dir string, role pki.Role) (link.Security, error) {
	var paths []string
	for _, name := range []string{"ca.crt", string(role) + ".crt", string(role) + ".key"} {
		text, err := env.ReadFile(filepath.Join(certificates, name))
		if err != nil {
			return link.Security{}, err
		}
		path := filepath.Join(dir, env.Name()+"-"+name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return link.Security{}, err
		}
		paths = append(paths, path)
	}
	config, err := pki.LoadTLS(role, pki.Files{CA: paths[0], Cert: paths[1], Key: paths[2]})
	return link.Security{TLS: config}, err
}

func (v *Liar) accept(ctx context.Context, env *lab.Env) {
	for {
		in, err := v.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			if err := v.take(ctx, env, in); err != nil && os.Getenv("OFFLOAD_HOSTILE_LOG") != "" {
				fmt.Fprintln(os.Stderr, "liar:", err)
			}
		}()
	}
}

// take passes on a connection of the DPU.
func (v *Liar) take(ctx context.Context, env *lab.Env, in *link.Incoming) error {
	defer in.Close()
	if !v.current().admits(in.Target) {
		return nil
	}
	p := &Pair{Target: in.Target, liar: v}
	if in.Target.Create {
		// The HOST may refuse it, and then so does the liar.
		var refused *link.RefusedError
		err := p.dialHost(ctx, env)
		if errors.As(err, &refused) {
			return in.Refuse(ctx, errors.New(refused.Reason))
		}
		if err != nil {
			return err
		}
	}
	conn, err := in.Handshake(ctx)
	if err == nil {
		var fresh bool
		if p.DPU, fresh, err = v.acceptor.Handle(ctx, conn); err == nil && !fresh {
			return nil // the pair is there
		}
	}
	if err == nil && p.HOST == nil {
		err = p.dialHost(ctx, env)
	}
	if err != nil {
		p.end()
		return err
	}
	p.relay()
	return nil
}

func (p *Pair) dialHost(ctx context.Context, env *lab.Env) (err error) {
	fresh := true
	dial := func(ctx context.Context) (conn net.Conn, err error) {
		target := p.Target
		target.Create, fresh = target.Create && fresh, false
		err = env.Do(func() error {
			conn, err = p.liar.host.Dial(ctx, target)
			return err
		})
		return conn, err
	}
	p.HOST, err = session.Dial(ctx, dial, session.Config{Name: "HOST", MaxStreams: maxStreams, ResumeTimeout: time.Minute})
	return err
}

// end ends both sessions.
func (p *Pair) end() {
	for _, s := range []*session.Session{p.DPU, p.HOST} {
		if s != nil {
			go s.Close()
		}
	}
}
