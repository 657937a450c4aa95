// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"slices"

	"github.com/container-offload/offload/network/rtnl"
	"github.com/container-offload/offload/network/twin"
	"github.com/container-offload/offload/network/wire"
)

// watch begins to report what the container changes. The network is locked.
func (n *network) watch() error {
	w, err := rtnl.Watch(n.ns, rtnl.Addresses)
	if err != nil {
		return err
	}
	n.watcher = w
	n.wg.Go(func() {
		for w.Wait() == nil {
			if err := n.report(); err != nil {
				n.o.Logger.Debug("report a change of the container", "network", n.name, "error", err)
			}
		}
	})
	return nil
}

// report tells the DPU how the twin differs from its description.
func (n *network) report() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	// All interfaces, also those the container has brought down.
	index := map[uint32]uint32{}
	known := map[uint32]bool{}
	for id, p := range n.ports {
		index[uint32(p.Index())] = id
		known[uint32(p.Index())] = true
	}
	now, err := rtnl.Describe(n.ns, known)
	if err != nil {
		return err
	}
	var r wire.Report
	for _, i := range now.Interfaces {
		id, ok := index[i.ID]
		if !ok {
			continue
		}
		if want, ok := n.current.Find(id); ok {
			if c := differ(want, i); c.MAC != "" || len(c.Added) > 0 || len(c.Removed) > 0 {
				r.Interfaces = append(r.Interfaces, c)
			}
		}
	}
	if len(r.Interfaces) == 0 {
		return nil
	}
	return n.send(wire.Message{Report: &r})
}

// differ returns how an interface is other than it should be. An interface that
// is down has lost its IPv6 addresses, which says nothing.
func differ(want, have twin.Interface) wire.Change {
	c := wire.Change{ID: want.ID}
	if want.MAC != have.MAC {
		c.MAC = have.MAC
	}
	for _, a := range have.Addresses {
		if !hasPrefix(want.Addresses, a) {
			c.Added = append(c.Added, a)
		}
	}
	for _, a := range want.Addresses {
		if !hasPrefix(have.Addresses, a) && (have.Up || a.Prefix.Addr().Is4()) {
			c.Removed = append(c.Removed, a)
		}
	}
	return c
}

func hasPrefix(list []twin.Address, a twin.Address) bool {
	return slices.ContainsFunc(list, func(b twin.Address) bool { return a.Prefix == b.Prefix })
}
