// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/containerd/errdefs"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/network/carrier"
	"github.com/container-offload/offload/network/carrier/tunnel"
	"github.com/container-offload/offload/network/carrier/vxlan"
	nethost "github.com/container-offload/offload/network/host"
	"github.com/container-offload/offload/network/netns"
	"github.com/container-offload/offload/shim/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// newNetworks returns the networks of the pod's containers.
func (h *half) newNetworks() *nethost.Networks {
	return nethost.New(nethost.Options{
		Resolve: h.networkNamespace,
		Open: func(ctx context.Context, header []byte) (net.Conn, error) {
			sess, _ := h.session()
			return sess.Open(ctx, wire.ServiceNetworkDNS, header)
		},
		Carriers: h.carriers(),
		Logger:   h.log,
	})
}

// carriers are those that the configuration allows.
func (h *half) carriers() []carrier.Carrier {
	out := []carrier.Carrier{tunnel.New()}
	if h.cfg.Network.Carrier == config.CarrierVXLAN {
		out = append(out, vxlan.New(vxlan.Options{}))
	}
	return out
}

// serveNetworks serves the streams by which the DPU makes and feeds twins.
func (h *half) serveNetworks(l net.Listener) {
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
		go func() {
			if err := h.networks.Serve(st, st.Header()); err != nil {
				h.log.Warn("serve network", "error", err)
			}
		}()
	}
}

// networkNamespace opens the namespace that a network's name stands for.
func (h *half) networkNamespace(name string) (*os.File, error) {
	id, key, ok := wire.ParseNetwork(name)
	if !ok {
		return nil, fmt.Errorf("network %q: %w", name, errdefs.ErrInvalidArgument)
	}
	var (
		path string
		err  error
	)
	if key != "" {
		path, err = h.netns.path(key)
	} else {
		var pid int
		pid, err = h.initPid(h.target.ID, id)
		path = fmt.Sprintf("/proc/%d/ns/net", pid)
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	if err := notOurs(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// notOurs fails for the network namespace of this process, which is the
// machine's: nothing is ever configured there.
func notOurs(f *os.File) error {
	own, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return fmt.Errorf("open own network namespace: %w", err)
	}
	defer own.Close()
	a, err := netns.Inode(f)
	if err != nil {
		return err
	}
	b, err := netns.Inode(own)
	if err != nil {
		return err
	}
	if a == b {
		return fmt.Errorf("container has the machine's own network: %w", errdefs.ErrFailedPrecondition)
	}
	return nil
}
