// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/network/carrier"
	"github.com/container-offload/offload/network/carrier/tunnel"
	"github.com/container-offload/offload/network/carrier/vxlan"
	"github.com/container-offload/offload/network/dpu"
	"github.com/container-offload/offload/network/host"
	"github.com/container-offload/offload/network/netns"
	"github.com/container-offload/offload/network/wire"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/pki"
	"github.com/container-offload/offload/udsbridge/session"
)

// rig is a DPU with a bridge, a HOST, and a session between both.
type rig struct {
	t          testing.TB
	bridge     *os.File // the DPU's own namespace
	networks   *host.Networks
	sess, peer *session.Session
	carrier    carrier.Carrier
	log        *slog.Logger
	n          int

	mu         sync.Mutex
	containers map[string]*container
	controls   []*session.Stream // the HOST's ends, in the order they were opened
}

// container is a namespace of the DPU and its twin.
type container struct {
	name         string
	shadow, twin *os.File
	network      *dpu.Network
}

const (
	services    = "network"
	dnsServices = "network-dns"
)

func newRig(t testing.TB) *rig {
	t.Helper()
	return newRigWith(t, unixLink(t), newNS(t), tunnel.New(), tunnel.New())
}

// newTLSRig is a rig whose link is TCP with TLS.
func newTLSRig(t testing.TB) *rig {
	t.Helper()
	return newRigWith(t, tlsLink(t), newNS(t), tunnel.New(), tunnel.New())
}

// newVXLANRig is a rig whose machines have a cable between them.
func newVXLANRig(t testing.TB) *rig {
	t.Helper()
	dpu, machine := newNS(t), newNS(t)
	r := newRigWith(t, unixLink(t), dpu,
		vxlan.New(vxlan.Options{Peer: netip.MustParseAddr("10.8.0.2"), Machine: dpu}),
		vxlan.New(vxlan.Options{Machine: machine}))
	r.run(dpu, fmt.Sprintf("ip link add cable type veth peer name cable netns /proc/%d/fd/%d && ip addr add 10.8.0.1/24 dev cable && ip link set cable up", os.Getpid(), machine.Fd()))
	r.run(machine, "ip addr add 10.8.0.2/24 dev cable && ip link set cable up")
	return r
}

func newRigWith(t testing.TB, l linkOf, dpu *os.File, offers, accepts carrier.Carrier) *rig {
	t.Helper()
	r := &rig{t: t, carrier: offers, containers: map[string]*container{}, log: testLogger(t), bridge: dpu}
	r.run(r.bridge, "ip link add br0 address 02:00:00:00:00:01 type bridge && ip link set br0 up && ip link set lo up && ip addr add 10.9.0.1/24 dev br0 && ip -6 addr add fd09::1/64 dev br0 nodad")
	r.sess, r.peer = sessions(t, l)
	r.networks = host.New(host.Options{
		Resolve: func(name string) (*os.File, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			c, ok := r.containers[name]
			if !ok {
				return nil, fmt.Errorf("no container %q", name)
			}
			return reopen(c.twin)
		},
		Open: func(ctx context.Context, header []byte) (net.Conn, error) {
			return r.peer.Open(ctx, dnsServices, header)
		},
		Carriers: []carrier.Carrier{accepts}, Logger: r.log,
	})
	go accept(r.peer.Listen(services), func(st *session.Stream) {
		if h, err := wire.ParseHeader(st.Header()); err == nil && h.Kind == wire.Control {
			r.mu.Lock()
			r.controls = append(r.controls, st)
			r.mu.Unlock()
		}
		if err := r.networks.Serve(st, st.Header()); err != nil {
			r.log.Info("HOST", "error", err)
		}
	})
	go accept(r.sess.Listen(dnsServices), func(st *session.Stream) {
		h, err := wire.ParseHeader(st.Header())
		if err != nil {
			st.Close()
			return
		}
		r.mu.Lock()
		c := r.containers[h.Network]
		r.mu.Unlock()
		if err := c.network.AnswerDNS(h.Kind, st); err != nil {
			r.log.Info("DNS", "error", err)
		}
	})
	return r
}

func testLogger(t testing.TB) *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

func accept(l net.Listener, f func(*session.Stream)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go f(c.(*session.Stream))
	}
}

func newNS(t testing.TB) *os.File {
	t.Helper()
	ns, err := netns.New()
	require.NoError(t, err)
	t.Cleanup(func() { ns.Close() })
	return ns
}

func reopen(ns *os.File) (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()))
}

// linkOf is what a session runs over: how each end comes to a connection.
type linkOf struct {
	dial   func(context.Context) (net.Conn, error)
	accept func() (net.Conn, error)
}

// unixLink is a real socket.
func unixLink(t testing.TB) linkOf {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "link"))
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return linkOf{
		dial:   func(context.Context) (net.Conn, error) { return net.Dial("unix", l.Addr().String()) },
		accept: l.Accept,
	}
}

// tlsLink is TCP with TLS, as the link between two machines has it.
func tlsLink(t testing.TB) linkOf {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, pki.Init(dir, pki.Options{}))
	security := func(role pki.Role) link.Security {
		c, err := pki.LoadTLS(role, pki.In(dir, role))
		require.NoError(t, err)
		return link.Security{TLS: c}
	}
	address, err := link.ParseAddress("tcp://127.0.0.1:0")
	require.NoError(t, err)
	l, err := link.Listen(t.Context(), address, security(pki.RoleHost))
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	d := link.Dialer{Address: l.Addr(), Security: security(pki.RoleDPU)}
	return linkOf{
		dial: func(ctx context.Context) (net.Conn, error) { return d.Dial(ctx, link.Target{Kind: link.KindAgent}) },
		accept: func() (net.Conn, error) {
			in, err := l.Accept()
			if err != nil {
				return nil, err
			}
			return in.Handshake(context.Background())
		},
	}
}

// sessions returns both ends of a session over a link: the DPU's first.
func sessions(t testing.TB, l linkOf) (*session.Session, *session.Session) {
	t.Helper()
	acceptor := session.NewAcceptor(session.Config{Name: "DPU"})
	got := make(chan *session.Session, 1)
	go func() {
		c, err := l.accept()
		if err != nil {
			return
		}
		if s, _, err := acceptor.Handle(context.Background(), c); err == nil {
			got <- s
		}
	}()
	s, err := session.Dial(t.Context(), l.dial, session.Config{Name: "HOST"})
	require.NoError(t, err)
	peer := <-got
	t.Cleanup(func() { s.Close(); peer.Close() })
	return s, peer
}

// container makes a namespace of the DPU with eth0 on the bridge, as dockerd
// would, and an empty one on the HOST. Address n of the bridge's networks is its.
func (r *rig) container(name string) *container {
	r.t.Helper()
	r.n++
	c := &container{name: name, shadow: newNS(r.t), twin: newNS(r.t)}
	for _, ns := range []*os.File{c.shadow, c.twin} {
		r.run(ns, "ip link set lo up")
	}
	r.plug(c, "eth0", fmt.Sprintf("10.9.0.%d/24", r.n+1), fmt.Sprintf("fd09::%d/64", r.n+1))
	r.run(c.shadow, "ip route add default via 10.9.0.1")
	r.mu.Lock()
	r.containers[name] = c
	r.mu.Unlock()
	return c
}

// plug gives a container's namespace on the DPU another interface on the bridge.
func (r *rig) plug(c *container, iface string, addresses ...string) {
	r.t.Helper()
	outer := fmt.Sprintf("v%d%s", r.n, iface)
	// A veth pair is made in the DPU's own namespace and then moved, as dockerd does.
	r.run(r.bridge, fmt.Sprintf("ip link add %s type veth peer name x%s && ip link set %s master br0 up", outer, outer, outer))
	r.run(r.bridge, fmt.Sprintf("ip link set x%s netns /proc/%d/fd/%d", outer, os.Getpid(), c.shadow.Fd()))
	script := fmt.Sprintf("ip link set x%s name %s", outer, iface)
	for _, a := range addresses {
		script += fmt.Sprintf(" && ip addr add %s dev %s", a, iface)
		if strings.Contains(a, ":") {
			script += " nodad"
		}
	}
	r.run(c.shadow, script+" && ip link set "+iface+" up")
}

// join starts the network of a container.
func (r *rig) join(c *container, follow bool) {
	r.t.Helper()
	ns, err := reopen(c.shadow)
	require.NoError(r.t, err)
	c.network, err = dpu.Join(r.t.Context(), dpu.Options{
		Name: c.name, NS: ns, Carrier: r.carrier, Follow: follow, Logger: r.log,
		Open: func(ctx context.Context, header []byte) (net.Conn, error) { return r.sess.Open(ctx, services, header) },
	})
	require.NoError(r.t, err)
	r.t.Cleanup(c.network.Close)
}

// try runs a script in a namespace and returns what it prints.
func try(ns *os.File, script string) (string, error) {
	var out bytes.Buffer
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := netns.Do(ns, cmd.Start); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return out.String(), err
}

func (r *rig) run(ns *os.File, script string) string {
	r.t.Helper()
	out, err := try(ns, script)
	require.NoError(r.t, err, "%s: %s", script, out)
	return out
}

// eventually runs a script until it succeeds.
func (r *rig) eventually(ns *os.File, script string) {
	r.t.Helper()
	var out string
	require.Eventually(r.t, func() bool {
		var err error
		out, err = try(ns, script)
		return err == nil
	}, 15*time.Second, 20*time.Millisecond, "%s", script)
	_ = out
}
