// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	nsfd "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/network/netns"
	"github.com/container-offload/offload/network/twin"
)

// Devices make the interfaces that [Apply] needs: a twin's interfaces are a
// carrier's devices.
type Devices interface {
	// Add makes a device called as the interface says and returns its index.
	Add(twin.Interface) (int, error)
	// Remove removes it with all that belongs to it.
	Remove(twin.Interface) error
	// Index returns its index.
	Index(twin.Interface) (int, bool)
}

// Apply takes the steps in the namespace. A step whose result is there already
// is no error: the container may have taken it first.
func Apply(ns *os.File, steps []twin.Step, devices Devices) error {
	if len(steps) == 0 {
		return nil
	}
	h, err := netlink.NewHandleAt(nsfd.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("change network namespace: %w", err)
	}
	defer h.Close()
	a := &applier{Handle: h, ns: ns, devices: devices}
	for _, s := range steps {
		if err := a.take(s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

type applier struct {
	*netlink.Handle
	ns      *os.File
	devices Devices
}

func (a *applier) take(s twin.Step) error {
	switch s := s.(type) {
	case twin.AddInterface:
		index, err := a.devices.Add(s.Interface)
		if err != nil {
			return err
		}
		return a.setLink(index, s.Interface)
	case twin.RemoveInterface:
		return a.devices.Remove(s.Interface)
	case twin.SetLink:
		return a.onLink(s.Interface, func(index int) error { return a.setLink(index, s.Interface) })
	case twin.SetUp:
		return a.onLink(s.Interface, func(index int) error { return a.setUp(index, s.Interface.Up) })
	case twin.SetSysctl:
		return netns.Do(a.ns, func() error { return setSysctl(s.Path, s.Value) })
	case twin.AddAddress:
		return a.onLink(s.Interface, func(index int) error { return a.AddrReplace(byIndex(index), addressOf(s.Address)) })
	case twin.RemoveAddress:
		return a.onLink(s.Interface, func(index int) error {
			return ignore(a.AddrDel(byIndex(index), addressOf(s.Address)), unix.EADDRNOTAVAIL)
		})
	case twin.AddRoute:
		return a.onLink(s.Interface, func(index int) error { return a.RouteReplace(routeOf(s.Route, index)) })
	case twin.RemoveRoute:
		return a.onLink(s.Interface, func(index int) error {
			return ignore(a.RouteDel(routeOf(s.Route, index)), unix.ESRCH)
		})
	case twin.AddNeighbour:
		return a.onLink(s.Interface, func(index int) error { return a.NeighSet(neighbourOf(s.Neighbour, index)) })
	case twin.RemoveNeighbour:
		return a.onLink(s.Interface, func(index int) error {
			return ignore(a.NeighDel(neighbourOf(s.Neighbour, index)), unix.ENOENT)
		})
	}
	return errors.New("unknown step")
}

// onLink calls f with the index of the interface, 0 for that of no interface.
func (a *applier) onLink(i twin.Interface, f func(index int) error) error {
	switch {
	case i.ID == 0:
		return f(0)
	case i.Loopback:
		lo, err := a.LinkByName("lo")
		if err != nil {
			return err
		}
		return f(lo.Attrs().Index)
	}
	index, ok := a.devices.Index(i)
	if !ok {
		return fmt.Errorf("interface %s is gone: %w", i.Name, unix.ENODEV)
	}
	return f(index)
}

func (a *applier) setLink(index int, i twin.Interface) error {
	l := byIndex(index)
	mac, err := net.ParseMAC(i.MAC)
	if err != nil {
		return err
	}
	if err := a.LinkSetHardwareAddr(l, mac); err != nil {
		return err
	}
	if err := a.LinkSetMTU(l, i.MTU); err != nil {
		return err
	}
	if i.NoARP {
		return a.LinkSetARPOff(l)
	}
	return a.LinkSetARPOn(l)
}

func (a *applier) setUp(index int, up bool) error {
	if up {
		return a.LinkSetUp(byIndex(index))
	}
	return a.LinkSetDown(byIndex(index))
}

// byIndex returns a link of which only the index is known, which is all that
// changing one needs.
func byIndex(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

func addressOf(a twin.Address) *netlink.Addr {
	out := &netlink.Addr{IPNet: ipNet(a.Prefix)}
	if a.Prefix.Addr().Is6() {
		// The DPU has made sure that nobody else has it.
		out.Flags |= unix.IFA_F_NODAD
	}
	if a.NoPrefixRoute {
		out.Flags |= unix.IFA_F_NOPREFIXROUTE
	}
	out.Broadcast = net.IPv4zero // none, which must be said
	if a.Broadcast.IsValid() {
		out.Broadcast = a.Broadcast.AsSlice()
	}
	return out
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func routeOf(r twin.Route, index int) *netlink.Route {
	out := &netlink.Route{
		Dst: ipNet(r.Destination), LinkIndex: index, Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_STATIC,
		Priority: int(r.Metric), MTU: int(r.MTU), Scope: netlink.SCOPE_UNIVERSE,
	}
	for number, kind := range routeTypes {
		if kind == r.Type {
			out.Type = number
		}
	}
	if r.Link {
		out.Scope = netlink.SCOPE_LINK
	}
	if r.OnLink {
		out.Flags |= int(netlink.FLAG_ONLINK)
	}
	if r.Gateway.IsValid() {
		if r.Gateway.Is4() == r.Destination.Addr().Is4() {
			out.Gw = r.Gateway.AsSlice()
		} else {
			out.Via = &netlink.Via{AddrFamily: unix.AF_INET6, Addr: r.Gateway.AsSlice()}
		}
	}
	if r.Source.IsValid() {
		out.Src = r.Source.AsSlice()
	}
	return out
}

func neighbourOf(n twin.Neighbour, index int) *netlink.Neigh {
	mac, _ := net.ParseMAC(n.MAC) // checked when the description was
	return &netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: n.Address.AsSlice(), HardwareAddr: mac}
}

// setSysctl sets a sysctl. One that this kernel has not is no error: the two
// machines need not run the same.
func setSysctl(path, value string) error {
	err := os.WriteFile(sysctlDir+path, []byte(value), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

func hostOrder(b [4]byte) uint32 { return binary.NativeEndian.Uint32(b[:]) }

// Quiet brings a carrier's device up that only carries frames: the kernel here
// says nothing on it by itself.
func Quiet(ns *os.File, name string, index, mtu int) error {
	err := netns.Do(ns, func() error { return setSysctl(twin.InterfaceSysctl(name, "ipv6/disable_ipv6"), "1") })
	if err == nil {
		err = SetMTU(ns, index, mtu)
	}
	if err == nil {
		err = withHandle(ns, func(h *netlink.Handle) error { return h.LinkSetUp(byIndex(index)) })
	}
	if err != nil {
		return fmt.Errorf("bring carrier device %s up: %w", name, err)
	}
	return nil
}

// SetMTU sets the MTU of a device.
func SetMTU(ns *os.File, index, mtu int) error {
	return withHandle(ns, func(h *netlink.Handle) error { return h.LinkSetMTU(byIndex(index), mtu) })
}

func withHandle(ns *os.File, f func(*netlink.Handle) error) error {
	h, err := netlink.NewHandleAt(nsfd.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	return f(h)
}

// SetSysctls sets sysctls of a namespace by their paths below /proc/sys/net. It
// sets as many as it can and returns what went wrong with the others.
func SetSysctls(ns *os.File, values map[string]string) error {
	return netns.Do(ns, func() error {
		var errs []error
		for path, value := range values {
			if err := setSysctl(path, value); err != nil {
				errs = append(errs, fmt.Errorf("set sysctl: %w", err))
			}
		}
		return errors.Join(errs...)
	})
}
