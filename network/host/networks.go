// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"

	"github.com/container-offload/offload/network/carrier"
	"github.com/container-offload/offload/network/wire"
)

// Options are what [Networks] are made of.
type Options struct {
	// Resolve returns the namespace that a network's name stands for. The
	// caller closes it.
	Resolve func(name string) (*os.File, error)
	// Open opens a stream to the DPU with the given header.
	Open func(ctx context.Context, header []byte) (net.Conn, error)
	// Carriers are those that the configuration allows.
	Carriers []carrier.Carrier
	Logger   *slog.Logger
}

// Networks are the twins of a machine or a pod. Its methods may be called
// concurrently.
type Networks struct {
	o Options

	mu    sync.Mutex
	twins map[string]*network
}

// New returns an empty set of networks.
func New(o Options) *Networks { return &Networks{o: o, twins: map[string]*network{}} }

// Serve serves a stream that the DPU has opened, until it ends. It closes the
// stream.
func (n *Networks) Serve(stream net.Conn, header []byte) error {
	defer stream.Close()
	h, err := wire.ParseHeader(header)
	if err != nil {
		return err
	}
	switch h.Kind {
	case wire.Control:
		return n.control(h.Network, stream)
	case wire.Frames:
		return n.frames(h, stream)
	}
	return fmt.Errorf("network %s: stream of kind %q", h.Network, h.Kind)
}

func (n *Networks) control(name string, stream net.Conn) error {
	ns, err := n.o.Resolve(name)
	if err != nil {
		return fmt.Errorf("network %s: %w", name, err)
	}
	t := newNetwork(name, ns, stream, n.o)
	defer t.close()
	n.mu.Lock()
	if _, ok := n.twins[name]; ok {
		n.mu.Unlock()
		return fmt.Errorf("network %s is there already", name)
	}
	n.twins[name] = t
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		delete(n.twins, name)
		n.mu.Unlock()
	}()
	return t.serve()
}

func (n *Networks) frames(h wire.Header, stream net.Conn) error {
	n.mu.Lock()
	t := n.twins[h.Network]
	n.mu.Unlock()
	if t == nil {
		return fmt.Errorf("network %s: frames for no twin", h.Network)
	}
	port, err := t.port(h.Interface)
	if err != nil {
		return fmt.Errorf("network %s: %w", h.Network, err)
	}
	if err := port.Carry(stream); err != nil {
		return fmt.Errorf("network %s: %w", h.Network, err)
	}
	return nil
}
