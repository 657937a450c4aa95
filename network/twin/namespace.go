// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package twin

import (
	"net/netip"
	"reflect"
	"slices"
)

// CarrierPrefix begins the names of the devices that a carrier adds to a
// namespace of the DPU. They are no part of a description.
const CarrierPrefix = "offl-"

// Namespace is what a network namespace looks like from inside.
type Namespace struct {
	Interfaces []Interface `json:"interfaces,omitempty"`
	Routes     []Route     `json:"routes,omitempty"`
	Neighbours []Neighbour `json:"neighbours,omitempty"`
	// Sysctls are those of the whole namespace, by their path below
	// /proc/sys/net, such as "ipv6/conf/all/disable_ipv6". See [Sysctls].
	Sysctls map[string]string `json:"sysctls,omitempty"`
	// Resolver tells that a DNS server answers on [ResolverAddress].
	Resolver bool `json:"resolver,omitempty"`
}

// ResolverAddress is where dockerd answers DNS queries inside a namespace.
var ResolverAddress = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// Interface is one network interface.
type Interface struct {
	// ID names the interface for as long as it exists: its index on the DPU.
	ID   uint32 `json:"id"`
	Name string `json:"name"`
	// Loopback marks lo, which every namespace has: only its addresses count,
	// and whether it is up.
	Loopback bool `json:"loopback,omitempty"`
	// MAC is in the form of [net.HardwareAddr.String].
	MAC string `json:"mac,omitempty"`
	MTU int    `json:"mtu,omitempty"`
	Up  bool   `json:"up,omitempty"`
	// NoARP tells that nobody is asked for addresses on it (IFF_NOARP), as on
	// an ipvlan interface in one of its L3 modes.
	NoARP     bool      `json:"no_arp,omitempty"`
	Addresses []Address `json:"addresses,omitempty"`
	// Sysctls are those of this interface, by family and name, such as
	// "ipv6/disable_ipv6". See [InterfaceSysctls].
	Sysctls map[string]string `json:"sysctls,omitempty"`
}

// Address is an address of an interface.
type Address struct {
	Prefix netip.Prefix `json:"prefix"`
	// Broadcast is the invalid Addr for none.
	Broadcast netip.Addr `json:"broadcast,omitzero"`
	// NoPrefixRoute tells that the kernel makes no route for the prefix
	// (IFA_F_NOPREFIXROUTE).
	NoPrefixRoute bool `json:"no_prefix_route,omitempty"`
}

// RouteType says what a route does with a packet; see ip-route(8).
type RouteType string

// The route types that are carried over.
const (
	Unicast     RouteType = "unicast"
	Blackhole   RouteType = "blackhole"
	Unreachable RouteType = "unreachable"
	Prohibit    RouteType = "prohibit"
)

// Route is a route of the main table that the kernel has not made by itself.
type Route struct {
	Type        RouteType    `json:"type"`
	Destination netip.Prefix `json:"destination"`
	// Interface is the ID of the interface it leads through, 0 for none.
	Interface uint32     `json:"interface,omitempty"`
	Gateway   netip.Addr `json:"gateway,omitzero"`
	Source    netip.Addr `json:"source,omitzero"`
	// Link tells that the destination is on the link itself (scope link).
	Link   bool   `json:"link,omitempty"`
	OnLink bool   `json:"on_link,omitempty"`
	Metric uint32 `json:"metric,omitempty"`
	// MTU is 0 for the interface's.
	MTU uint32 `json:"mtu,omitempty"`
}

// Neighbour is a permanent entry of the ARP or neighbour table.
type Neighbour struct {
	Interface uint32     `json:"interface"`
	Address   netip.Addr `json:"address"`
	MAC       string     `json:"mac"`
}

// Sysctls are the sysctls of a whole namespace that are carried over. Those a
// container's spec names are not needed: runc sets them on the HOST.
var Sysctls = []string{
	"ipv6/conf/all/disable_ipv6",
	"ipv6/conf/default/disable_ipv6",
}

// InterfaceSysctls are the sysctls of an interface that are carried over: those
// that dockerd sets, and those its --sysctl endpoint option is documented with.
var InterfaceSysctls = []string{
	"ipv4/accept_local", "ipv4/accept_redirects", "ipv4/accept_source_route", "ipv4/arp_accept", "ipv4/arp_announce",
	"ipv4/arp_filter", "ipv4/arp_ignore", "ipv4/arp_notify", "ipv4/forwarding", "ipv4/log_martians", "ipv4/proxy_arp",
	"ipv4/route_localnet", "ipv4/rp_filter", "ipv4/secure_redirects", "ipv4/send_redirects", "ipv4/src_valid_mark",
	"ipv6/accept_dad", "ipv6/accept_ra", "ipv6/accept_redirects", "ipv6/accept_source_route", "ipv6/autoconf",
	"ipv6/dad_transmits", "ipv6/disable_ipv6", "ipv6/forwarding", "ipv6/proxy_ndp",
}

// Find returns the interface with the given id.
func (n *Namespace) Find(id uint32) (Interface, bool) {
	for _, i := range n.Interfaces {
		if i.ID == id {
			return i, true
		}
	}
	return Interface{}, false
}

// Bare tells whether the namespace has nothing that a new one has not: a twin
// of it needs no work.
func (n *Namespace) Bare() bool {
	for _, i := range n.Interfaces {
		if !i.Loopback || len(i.Addresses) > 0 {
			return false
		}
	}
	return len(n.Routes) == 0 && !n.Resolver
}

// Equal tells whether two descriptions are of the same look.
func (n *Namespace) Equal(o *Namespace) bool { return reflect.DeepEqual(n, o) }

// Without returns the description less an interface and what leads through it.
func (n *Namespace) Without(id uint32) *Namespace {
	out := *n
	out.Interfaces = slices.DeleteFunc(slices.Clone(n.Interfaces), func(i Interface) bool { return i.ID == id })
	out.Routes = slices.DeleteFunc(slices.Clone(n.Routes), func(r Route) bool { return r.Interface == id })
	out.Neighbours = slices.DeleteFunc(slices.Clone(n.Neighbours), func(e Neighbour) bool { return e.Interface == id })
	return &out
}
