// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package rtnl

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	nsfd "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/network/netns"
	"github.com/container-offload/offload/network/twin"
)

// Describe returns what the namespace looks like. An interface that is down is
// left out unless known names it: dockerd moves, renames and configures one
// before it brings it up, and nobody should see it half done.
func Describe(ns *os.File, known map[uint32]bool) (*twin.Namespace, error) {
	var (
		out *twin.Namespace
		err error
	)
	// The kernel may say that a dump was disturbed by a change.
	for range 5 {
		if out, err = describe(ns, known); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("describe network namespace: %w", err)
	}
	return out, nil
}

func describe(ns *os.File, known map[uint32]bool) (*twin.Namespace, error) {
	h, err := netlink.NewHandleAt(nsfd.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	out := &twin.Namespace{}
	if err := interfaces(h, out, known); err != nil {
		return nil, err
	}
	if err := routes(h, out); err != nil {
		return nil, err
	}
	if err := neighbours(h, out); err != nil {
		return nil, err
	}
	if err := netns.Do(ns, func() error { return inside(out) }); err != nil {
		return nil, err
	}
	return out, nil
}

func interfaces(h *netlink.Handle, out *twin.Namespace, known map[uint32]bool) error {
	links, err := h.LinkList()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	addrs, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		i := twin.Interface{ID: uint32(a.Index), Name: a.Name, Loopback: a.Flags&net.FlagLoopback != 0, Up: a.Flags&net.FlagUp != 0}
		if !i.Loopback {
			if len(a.HardwareAddr) != 6 || strings.HasPrefix(a.Name, twin.CarrierPrefix) || !i.Up && !known[i.ID] {
				continue
			}
			i.MAC, i.MTU, i.NoARP = a.HardwareAddr.String(), a.MTU, a.RawFlags&unix.IFF_NOARP != 0
		}
		for _, ad := range addrs {
			if ad.LinkIndex == a.Index {
				if address, ok := address(ad, i.Loopback); ok {
					i.Addresses = append(i.Addresses, address)
				}
			}
		}
		out.Interfaces = append(out.Interfaces, i)
	}
	return nil
}

// address translates an address, and leaves out those that every lo has.
func address(a netlink.Addr, loopback bool) (twin.Address, bool) {
	prefix, ok := prefixOf(a.IPNet)
	if !ok || loopback && prefix.Addr().IsLoopback() {
		return twin.Address{}, false
	}
	out := twin.Address{Prefix: prefix, NoPrefixRoute: a.Flags&unix.IFA_F_NOPREFIXROUTE != 0}
	if b, ok := netip.AddrFromSlice(a.Broadcast); ok && prefix.Addr().Is4() {
		out.Broadcast = b.Unmap()
	}
	return out, true
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	if bits == 32 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, ones), true
}

var routeTypes = map[int]twin.RouteType{
	unix.RTN_UNICAST: twin.Unicast, unix.RTN_BLACKHOLE: twin.Blackhole,
	unix.RTN_UNREACHABLE: twin.Unreachable, unix.RTN_PROHIBIT: twin.Prohibit,
}

func routes(h *netlink.Handle, out *twin.Namespace) error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		for _, r := range list {
			if route, ok := route(r, family); ok {
				if _, there := out.Find(route.Interface); there || route.Interface == 0 {
					out.Routes = append(out.Routes, route)
				}
			}
		}
	}
	return nil
}

// route translates a route, and leaves out those that the kernel makes by itself.
func route(r netlink.Route, family int) (twin.Route, bool) {
	kind, ok := routeTypes[r.Type]
	if !ok || r.Protocol == unix.RTPROT_KERNEL || r.Protocol == unix.RTPROT_RA || len(r.MultiPath) > 0 || r.Flags&unix.RTM_F_CLONED != 0 {
		return twin.Route{}, false
	}
	out := twin.Route{
		Type: kind, Interface: uint32(r.LinkIndex), Link: r.Scope == netlink.SCOPE_LINK && family == netlink.FAMILY_V4,
		OnLink: r.Flags&int(netlink.FLAG_ONLINK) != 0, Metric: uint32(r.Priority), MTU: uint32(r.MTU),
	}
	if kind != twin.Unicast {
		out.Interface = 0
	}
	if out.Destination, ok = prefixOf(r.Dst); !ok {
		out.Destination = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if family == netlink.FAMILY_V6 {
			out.Destination = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
	}
	if gw, ok := netip.AddrFromSlice(r.Gw); ok {
		out.Gateway = gw.Unmap()
	}
	if src, ok := netip.AddrFromSlice(r.Src); ok {
		out.Source = src.Unmap()
	}
	return out, true
}

func neighbours(h *netlink.Handle, out *twin.Namespace) error {
	list, err := h.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	for _, n := range list {
		a, ok := netip.AddrFromSlice(n.IP)
		_, there := out.Find(uint32(n.LinkIndex))
		if ok && there && n.State == netlink.NUD_PERMANENT && len(n.HardwareAddr) == 6 {
			out.Neighbours = append(out.Neighbours, twin.Neighbour{
				Interface: uint32(n.LinkIndex), Address: a.Unmap(), MAC: n.HardwareAddr.String(),
			})
		}
	}
	return nil
}

// inside completes a description with what is only seen from inside.
func inside(out *twin.Namespace) error {
	var err error
	if out.Sysctls, err = sysctls(twin.Sysctls, func(name string) string { return name }); err != nil {
		return err
	}
	for k := range out.Interfaces {
		i := &out.Interfaces[k]
		if i.Loopback {
			continue
		}
		i.Sysctls, err = sysctls(twin.InterfaceSysctls, func(name string) string { return twin.InterfaceSysctl(i.Name, name) })
		if err != nil {
			return err
		}
	}
	out.Resolver, err = listensOn(twin.ResolverAddress)
	return err
}

const sysctlDir = "/proc/sys/net/"

// sysctls reads the named values. One that this kernel has not is left out.
func sysctls(names []string, path func(string) string) (map[string]string, error) {
	out := map[string]string{}
	for _, name := range names {
		b, err := os.ReadFile(sysctlDir + path(name))
		switch {
		case err == nil:
			out[name] = strings.TrimSpace(string(b))
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("read sysctl: %w", err)
		}
	}
	return out, nil
}

// listensOn tells whether a UDP socket of this thread's namespace is bound to
// the address. See proc_net(5): the table has it in hexadecimal, as the machine
// keeps it in memory.
func listensOn(a netip.Addr) (bool, error) {
	b, err := os.ReadFile("/proc/thread-self/net/udp")
	if err != nil {
		return false, fmt.Errorf("list sockets: %w", err)
	}
	raw := a.As4()
	return slices.ContainsFunc(bytes.Split(b, []byte("\n")), func(line []byte) bool {
		fields := bytes.Fields(line)
		return len(fields) > 1 && bytes.HasPrefix(fields[1], fmt.Appendf(nil, "%08X:", hostOrder(raw)))
	}), nil
}
