// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// The addresses of the two ends of the only link between the environments.
const (
	HostAddress = "10.77.0.1"
	DPUAddress  = "10.77.0.2"

	prefixBits = 24
	linkName   = "lab0"
)

// inNetwork calls fn with a handle on the environment's network.
func (e *Env) inNetwork(fn func(*netlink.Handle) error) error {
	ns, err := netns.GetFromPid(e.pid)
	if err != nil {
		return fmt.Errorf("open network of %s: %w", e.name, err)
	}
	defer ns.Close()
	handle, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("open network of %s: %w", e.name, err)
	}
	defer handle.Close()
	return fn(handle)
}

func (e *Env) raiseLoopback() error {
	return e.inNetwork(func(h *netlink.Handle) error {
		lo, err := h.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find loopback of %s: %w", e.name, err)
		}
		if err := h.LinkSetUp(lo); err != nil {
			return fmt.Errorf("raise loopback of %s: %w", e.name, err)
		}
		return nil
	})
}

// joinNetworks makes the veth pair. Its ends are born in the environments, so the machine's network never has them.
func joinNetworks(host, dpu *Env) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Namespace = linkName, netlink.NsPid(host.pid)
	err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: linkName, PeerNamespace: netlink.NsPid(dpu.pid)})
	if err != nil {
		return fmt.Errorf("join %s and %s: %w", host.name, dpu.name, err)
	}
	for address, e := range map[string]*Env{HostAddress: host, DPUAddress: dpu} {
		if err := e.raiseLink(address); err != nil {
			return err
		}
	}
	return nil
}

func (e *Env) raiseLink(address string) error {
	return e.inNetwork(func(h *netlink.Handle) error {
		link, err := h.LinkByName(linkName)
		if err != nil {
			return fmt.Errorf("find link of %s: %w", e.name, err)
		}
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(address), Mask: net.CIDRMask(prefixBits, 32)}}
		if err := h.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("give %s its address: %w", e.name, err)
		}
		if err := h.LinkSetUp(link); err != nil {
			return fmt.Errorf("raise link of %s: %w", e.name, err)
		}
		return nil
	})
}

// SetLink takes the environment's end of the link down or up again, as a cable would.
func (e *Env) SetLink(up bool) error {
	return e.inNetwork(func(h *netlink.Handle) error {
		link, err := h.LinkByName(linkName)
		if err != nil {
			return fmt.Errorf("find link of %s: %w", e.name, err)
		}
		if up {
			return h.LinkSetUp(link)
		}
		return h.LinkSetDown(link)
	})
}
