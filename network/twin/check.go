// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package twin

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Bounds of a description.
const (
	maxInterfaces = 256
	maxEntries    = 4096 // of one kind, in the whole namespace
	maxName       = 15   // IFNAMSIZ less the zero byte
	// MinMTU is the least an IPv4 link may have; MaxMTU is what fits a
	// frame of the wire beside the Ethernet header.
	MinMTU = 68
	MaxMTU = 65521
)

// Check tells whether the description makes sense and keeps to its bounds. The
// HOST applies none that doesn't.
func (n *Namespace) Check() error {
	if len(n.Interfaces) > maxInterfaces || len(n.Routes) > maxEntries || len(n.Neighbours) > maxEntries {
		return fmt.Errorf("%d interfaces, %d routes and %d neighbours are too many", len(n.Interfaces), len(n.Routes), len(n.Neighbours))
	}
	ids := map[uint32]bool{}
	names := map[string]bool{}
	for _, i := range n.Interfaces {
		if err := i.check(); err != nil {
			return fmt.Errorf("interface %q: %w", i.Name, err)
		}
		if ids[i.ID] || names[i.Name] {
			return fmt.Errorf("interface %q: is there twice", i.Name)
		}
		ids[i.ID], names[i.Name] = true, true
	}
	for _, r := range n.Routes {
		if err := r.check(ids); err != nil {
			return fmt.Errorf("route %s: %w", r.Destination, err)
		}
	}
	for _, e := range n.Neighbours {
		if err := e.check(ids); err != nil {
			return fmt.Errorf("neighbour %s: %w", e.Address, err)
		}
	}
	return checkSysctls(n.Sysctls, Sysctls)
}

func (i Interface) check() error {
	switch {
	case i.ID == 0:
		return errors.New("has no id")
	case i.Name == "" || len(i.Name) > maxName || i.Name == "." || i.Name == ".." || strings.ContainsAny(i.Name, "/: \t\n\x00%"):
		return errors.New("bad name")
	case len(i.Addresses) > maxEntries:
		return errors.New("too many addresses")
	case i.Loopback != (i.Name == "lo"):
		return errors.New("loopback is lo, and lo is loopback")
	}
	for _, a := range i.Addresses {
		if !a.Prefix.IsValid() || a.Broadcast.IsValid() && !a.Broadcast.Is4() {
			return fmt.Errorf("bad address %s", a.Prefix)
		}
	}
	if i.Loopback {
		return nil
	}
	if i.MTU < MinMTU || i.MTU > MaxMTU {
		return fmt.Errorf("mtu %d is out of range, %d to %d", i.MTU, MinMTU, MaxMTU)
	}
	if _, err := ParseMAC(i.MAC); err != nil {
		return err
	}
	return checkSysctls(i.Sysctls, InterfaceSysctls)
}

// ParseMAC parses an Ethernet address of a single station.
func ParseMAC(s string) ([6]byte, error) {
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		return [6]byte{}, fmt.Errorf("%q is no Ethernet address of a station", s)
	}
	return [6]byte(mac), nil
}

func (r Route) check(ids map[uint32]bool) error {
	switch {
	case !r.Destination.IsValid():
		return errors.New("has no destination")
	case !slices.Contains([]RouteType{Unicast, Blackhole, Unreachable, Prohibit}, r.Type):
		return fmt.Errorf("unknown type %q", r.Type)
	case r.Type == Unicast && !ids[r.Interface]:
		return errors.New("leads through no interface")
	case !sameFamily(r.Destination.Addr(), r.Source):
		return errors.New("source of another family")
	}
	return nil
}

func sameFamily(a, b netip.Addr) bool { return !b.IsValid() || a.Is4() == b.Is4() }

func (e Neighbour) check(ids map[uint32]bool) error {
	if !e.Address.IsValid() || !ids[e.Interface] {
		return errors.New("has no address or no interface")
	}
	_, err := ParseMAC(e.MAC)
	return err
}

func checkSysctls(values map[string]string, allowed []string) error {
	for name, value := range values {
		if !slices.Contains(allowed, name) {
			return fmt.Errorf("sysctl %q is not carried over", name)
		}
		if len(value) > 64 {
			return fmt.Errorf("sysctl %q: value of %d bytes", name, len(value))
		}
	}
	return nil
}
