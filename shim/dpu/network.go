// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/network/carrier"
	"github.com/container-offload/offload/network/carrier/tunnel"
	"github.com/container-offload/offload/network/carrier/vxlan"
	netdpu "github.com/container-offload/offload/network/dpu"
	"github.com/container-offload/offload/network/rtnl"
	netwire "github.com/container-offload/offload/network/wire"
	"github.com/container-offload/offload/shim/wire"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/session"
)

// networks are the network namespaces of the DPU that the pod's containers have
// and that have a twin on the HOST.
type networks struct {
	s *Service

	mu     sync.Mutex
	byName map[string]*network
}

// network is one of them, used by one or more tasks.
type network struct {
	ready chan struct{} // closed when the fields below are set
	net   *netdpu.Network
	err   error
	users int
}

func newNetworks(s *Service) *networks {
	return &networks{s: s, byName: map[string]*network{}}
}

// join gives the task's container the network that its namespace has here. It
// returns once the container can use it. A task that has the namespace of
// another task, or none of its own, needs nothing.
func (n *networks) join(ctx context.Context, t *task) error {
	name, path, err := n.namespaceOf(t)
	if err != nil || name == "" {
		return err
	}
	e, first := n.use(name)
	t.joinedNetwork(func() { n.leave(name) })
	if first {
		e.net, e.err = n.make(ctx, t, name, path)
		close(e.ready)
	}
	select {
	case <-e.ready:
		return e.err
	case <-ctx.Done():
		return fmt.Errorf("join network: %w", ctx.Err())
	}
}

// namespaceOf returns the name and the path of the namespace that the task
// needs a twin of, if any.
func (n *networks) namespaceOf(t *task) (name, path string, err error) {
	ns, ok := networkNamespace(t.spec)
	switch {
	case !ok:
		return "", "", nil
	case ns.Path == "":
		return wire.TaskNetwork(t.id), fmt.Sprintf("/proc/%d/ns/net", t.shadow.Pid()), nil
	}
	if _, err := n.s.shadows.FindNamespace("net", ns.Path); !errors.Is(err, errdefs.ErrNotFound) {
		return "", "", err // of another task, which sees to it
	}
	if own, err := isOwnNamespace("net", ns.Path); err != nil || own {
		return "", "", err
	}
	ino, err := inodeOf(ns.Path)
	if err != nil {
		return "", "", err
	}
	return wire.NetNSNetwork(fmt.Sprint(ino)), ns.Path, nil
}

func networkNamespace(spec *specs.Spec) (specs.LinuxNamespace, bool) {
	if spec.Linux == nil {
		return specs.LinuxNamespace{}, false
	}
	k := slices.IndexFunc(spec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == specs.NetworkNamespace })
	if k < 0 {
		return specs.LinuxNamespace{}, false
	}
	return spec.Linux.Namespaces[k], true
}

// use counts a user and reports whether it is the first, who makes the network.
func (n *networks) use(name string) (e *network, first bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e, ok := n.byName[name]
	if !ok {
		e = &network{ready: make(chan struct{})}
		n.byName[name] = e
	}
	e.users++
	return e, !ok
}

// leave takes a user away; with the last one the twin goes.
func (n *networks) leave(name string) {
	n.mu.Lock()
	e := n.byName[name]
	e.users--
	last := e.users == 0
	if last {
		delete(n.byName, name)
	}
	n.mu.Unlock()
	if !last {
		return
	}
	<-e.ready
	if e.net != nil {
		e.net.Close()
	}
}

func (n *networks) make(ctx context.Context, t *task, name, path string) (*netdpu.Network, error) {
	sess, err := n.s.host.session(ctx)
	if err != nil {
		return nil, err
	}
	c, err := n.carrier(n.s.host.cfg)
	if err != nil {
		return nil, err
	}
	ns, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	return netdpu.Join(ctx, netdpu.Options{
		Name: name, NS: ns, Carrier: c, Follow: mayChangeNetwork(t.spec), Logger: n.s.log,
		Open: func(ctx context.Context, header []byte) (net.Conn, error) {
			return sess.Open(ctx, wire.ServiceNetwork, header)
		},
	})
}

// carrier returns the carrier that the configuration names.
func (n *networks) carrier(cfg *config.DPU) (carrier.Carrier, error) {
	if cfg.Network.Carrier != config.CarrierVXLAN {
		return tunnel.New(), nil
	}
	address, err := link.ParseAddress(cfg.Link.Address)
	if err != nil {
		return nil, err
	}
	peer, err := netip.ParseAddr(address.Host)
	if err != nil {
		return nil, fmt.Errorf("carry frames by vxlan: %w", err)
	}
	return vxlan.New(vxlan.Options{Peer: peer}), nil
}

// mayChangeNetwork tells whether the container may change its own interfaces.
func mayChangeNetwork(spec *specs.Spec) bool {
	return spec.Process != nil && spec.Process.Capabilities != nil &&
		slices.Contains(spec.Process.Capabilities.Bounding, "CAP_NET_ADMIN")
}

// serveDNS answers the DNS queries that the HOST passes on.
func (n *networks) serveDNS(l net.Listener) {
	eachConn(l, anyNumber, func(c net.Conn) {
		st, ok := c.(*session.Stream)
		if !ok {
			return
		}
		if err := n.answerDNS(st); err != nil {
			n.s.log.Debug("answer DNS query", "error", err)
			st.Reset(err)
		}
	})
}

func (n *networks) answerDNS(st *session.Stream) error {
	h, err := netwire.ParseHeader(st.Header())
	if err != nil {
		return err
	}
	n.mu.Lock()
	e := n.byName[h.Network]
	n.mu.Unlock()
	if e == nil {
		return fmt.Errorf("network %q: %w", h.Network, errdefs.ErrNotFound)
	}
	<-e.ready
	if e.net == nil {
		return fmt.Errorf("network %q: %w", h.Network, errdefs.ErrNotFound)
	}
	return e.net.AnswerDNS(h.Kind, st)
}

// shareSysctls gives the shadow's own network namespace the sysctls that the
// container's gets from its spec, so that who looks here sees the same. Those
// that this kernel refuses are the HOST's business alone.
func shareSysctls(t *task) error {
	ns, ok := networkNamespace(t.spec)
	if !ok || ns.Path != "" {
		return nil
	}
	values := map[string]string{}
	for name, value := range t.spec.Linux.Sysctl {
		if rest, ok := strings.CutPrefix(strings.ReplaceAll(name, ".", "/"), "net/"); ok {
			values[rest] = value
		}
	}
	if len(values) == 0 {
		return nil
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", t.shadow.Pid()))
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer f.Close()
	return rtnl.SetSysctls(f, values)
}
