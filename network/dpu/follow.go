// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"errors"
	"fmt"

	"github.com/container-offload/offload/network/rtnl"
	"github.com/container-offload/offload/network/steer"
	"github.com/container-offload/offload/network/twin"
	"github.com/container-offload/offload/network/wire"
)

// takeOver makes the changes here that the container has made on the HOST, if
// it may. What then changes here is told the HOST as any change.
func (n *Network) takeOver(r *wire.Report) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	err := n.followLocked(r)
	if err == nil {
		n.complaint = ""
		return
	}
	// Said once: the HOST can make it happen again and again.
	if text := err.Error(); text != n.complaint {
		n.complaint = text
		n.o.Logger.Warn("take over a change of the container", "network", n.o.Name, "error", err)
	}
}

func (n *Network) followLocked(r *wire.Report) error {
	if !n.o.Follow {
		return errNotAllowed
	}
	steps, err := stepsOf(r, n.last)
	if err != nil {
		return err
	}
	return rtnl.Apply(n.o.NS, steps, inPlace{})
}

var errNotAllowed = errors.New("it may make none")

// stepsOf turns a report into steps for the namespace as it is described. The
// report comes from a machine that is not trusted.
func stepsOf(r *wire.Report, now *twin.Namespace) ([]twin.Step, error) {
	next := twin.Namespace{Interfaces: append([]twin.Interface(nil), now.Interfaces...)}
	for _, c := range r.Interfaces {
		k := -1
		for i := range next.Interfaces {
			if next.Interfaces[i].ID == c.ID && !next.Interfaces[i].Loopback {
				k = i
			}
		}
		if k < 0 {
			return nil, fmt.Errorf("report about interface %d, which is not there", c.ID)
		}
		next.Interfaces[k] = changed(next.Interfaces[k], c)
		if len(next.Interfaces[k].Addresses) > steer.MaxAddresses {
			return nil, fmt.Errorf("interface %s: %d addresses", next.Interfaces[k].Name, len(next.Interfaces[k].Addresses))
		}
	}
	if err := next.Check(); err != nil {
		return nil, fmt.Errorf("report of the HOST: %w", err)
	}
	return twin.Plan(&twin.Namespace{Interfaces: now.Interfaces}, &next), nil
}

func changed(i twin.Interface, c wire.Change) twin.Interface {
	var kept []twin.Address
	for _, a := range i.Addresses {
		if !contains(c.Removed, a) {
			kept = append(kept, a)
		}
	}
	for _, a := range c.Added {
		if !contains(kept, a) {
			kept = append(kept, a)
		}
	}
	i.Addresses = kept
	if c.MAC != "" {
		i.MAC = c.MAC
	}
	return i
}

func contains(list []twin.Address, a twin.Address) bool {
	for _, b := range list {
		if a.Prefix == b.Prefix {
			return true
		}
	}
	return false
}

// inPlace are the interfaces of a namespace of the DPU: whose they are, they
// stay.
type inPlace struct{}

func (inPlace) Add(i twin.Interface) (int, error) {
	return 0, fmt.Errorf("interface %s can't be made here", i.Name)
}

func (inPlace) Remove(i twin.Interface) error {
	return fmt.Errorf("interface %s can't be removed here", i.Name)
}

func (inPlace) Index(i twin.Interface) (int, bool) { return int(i.ID), true }
