// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package twin

import (
	"fmt"
	"maps"
	"slices"
)

// Step is one change to a namespace: one of the types of this file.
type Step interface{ fmt.Stringer }

// AddInterface makes an interface with its MAC and MTU, without addresses, down.
type AddInterface struct{ Interface Interface }

// RemoveInterface removes an interface with all that belongs to it.
type RemoveInterface struct{ Interface Interface }

// SetLink gives an interface its MAC, MTU and whether it asks for addresses.
type SetLink struct{ Interface Interface }

// SetUp brings an interface up or down.
type SetUp struct{ Interface Interface }

// SetSysctl sets a sysctl, named by its path below /proc/sys/net.
type SetSysctl struct{ Path, Value string }

// AddAddress gives an interface an address.
type AddAddress struct {
	Interface Interface
	Address   Address
}

// RemoveAddress takes an address from an interface.
type RemoveAddress AddAddress

// AddRoute adds or replaces a route. Interface is the one it leads through, if
// any.
type AddRoute struct {
	Interface Interface
	Route     Route
}

// RemoveRoute removes a route.
type RemoveRoute AddRoute

// AddNeighbour adds or replaces a permanent neighbour.
type AddNeighbour struct {
	Interface Interface
	Neighbour Neighbour
}

// RemoveNeighbour removes a permanent neighbour.
type RemoveNeighbour AddNeighbour

func (s AddInterface) String() string    { return "add interface " + s.Interface.Name }
func (s RemoveInterface) String() string { return "remove interface " + s.Interface.Name }
func (s SetLink) String() string {
	return fmt.Sprintf("give interface %s address %s and mtu %d", s.Interface.Name, s.Interface.MAC, s.Interface.MTU)
}
func (s SetUp) String() string {
	if s.Interface.Up {
		return "bring interface " + s.Interface.Name + " up"
	}
	return "bring interface " + s.Interface.Name + " down"
}
func (s SetSysctl) String() string { return fmt.Sprintf("set sysctl %s to %s", s.Path, s.Value) }
func (s AddAddress) String() string {
	return fmt.Sprintf("add %s to interface %s", s.Address.Prefix, s.Interface.Name)
}
func (s RemoveAddress) String() string {
	return fmt.Sprintf("remove %s from interface %s", s.Address.Prefix, s.Interface.Name)
}
func (s AddRoute) String() string {
	return fmt.Sprintf("add route to %s on %q", s.Route.Destination, s.Interface.Name)
}
func (s RemoveRoute) String() string {
	return fmt.Sprintf("remove route to %s on %q", s.Route.Destination, s.Interface.Name)
}
func (s AddNeighbour) String() string {
	return fmt.Sprintf("add neighbour %s on %s", s.Neighbour.Address, s.Interface.Name)
}
func (s RemoveNeighbour) String() string {
	return fmt.Sprintf("remove neighbour %s on %s", s.Neighbour.Address, s.Interface.Name)
}

// Plan returns the steps from one description to another, in an order in which
// each finds what it needs: an address its interface, a route through a gateway
// the route to that gateway. What is in neither description is left alone, so
// that a container keeps what it has added itself.
func Plan(from, to *Namespace) []Step {
	p := &plan{from: from, to: to, fresh: map[uint32]bool{}, gone: map[uint32]bool{}}
	p.interfaces()
	p.removeEntries()
	p.removeAddresses()
	p.removeInterfaces()
	p.sysctls("", from.Sysctls, to.Sysctls)
	for _, i := range to.Interfaces {
		p.configure(i)
	}
	p.addEntries()
	return p.steps
}

type plan struct {
	from, to *Namespace
	// fresh interfaces have lost their routes or never had any; gone ones take
	// theirs with them.
	fresh, gone map[uint32]bool
	steps       []Step
}

func (p *plan) add(s Step) { p.steps = append(p.steps, s) }

// interfaces finds out which interfaces are new and which are gone. One with
// another name is another one.
func (p *plan) interfaces() {
	for _, i := range p.from.Interfaces {
		if now, ok := p.to.Find(i.ID); !ok || now.Name != i.Name {
			p.gone[i.ID] = true
		}
	}
	for _, i := range p.to.Interfaces {
		before, ok := p.from.Find(i.ID)
		if !ok || p.gone[i.ID] || i.Up && !before.Up {
			p.fresh[i.ID] = true
		}
	}
}

func (p *plan) removeEntries() {
	for _, r := range p.from.Routes {
		if !p.gone[r.Interface] && !slices.Contains(p.to.Routes, r) {
			i, _ := p.from.Find(r.Interface)
			p.add(RemoveRoute{i, r})
		}
	}
	for _, e := range p.from.Neighbours {
		if !p.gone[e.Interface] && !slices.Contains(p.to.Neighbours, e) {
			i, _ := p.from.Find(e.Interface)
			p.add(RemoveNeighbour{i, e})
		}
	}
}

func (p *plan) removeAddresses() {
	for _, i := range p.from.Interfaces {
		now, _ := p.to.Find(i.ID)
		for _, a := range i.Addresses {
			if (!p.gone[i.ID] || i.Loopback) && !slices.Contains(now.Addresses, a) {
				p.add(RemoveAddress{i, a})
			}
		}
	}
}

func (p *plan) removeInterfaces() {
	for _, i := range p.from.Interfaces {
		if p.gone[i.ID] && !i.Loopback {
			p.add(RemoveInterface{i})
		}
	}
}

func (p *plan) sysctls(prefix string, from, to map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(to)) {
		if before, ok := from[name]; !ok || before != to[name] {
			p.add(SetSysctl{prefix + name, to[name]})
		}
	}
}

// configure brings one interface to what it shall be.
func (p *plan) configure(i Interface) {
	before, ok := p.from.Find(i.ID)
	if !ok || p.gone[i.ID] {
		before = Interface{}
		if !i.Loopback {
			p.add(AddInterface{i})
		}
	} else if before.MAC != i.MAC || before.MTU != i.MTU || before.NoARP != i.NoARP {
		p.add(SetLink{i})
	}
	if !i.Loopback {
		for _, name := range slices.Sorted(maps.Keys(i.Sysctls)) {
			if old, ok := before.Sysctls[name]; !ok || old != i.Sysctls[name] {
				p.add(SetSysctl{InterfaceSysctl(i.Name, name), i.Sysctls[name]})
			}
		}
	}
	for _, a := range i.Addresses {
		if !slices.Contains(before.Addresses, a) || p.fresh[i.ID] && a.Prefix.Addr().Is6() {
			// An interface that goes down loses its IPv6 addresses.
			p.add(AddAddress{i, a})
		}
	}
	// Nobody but runc brings up lo in a namespace of its own making, and nobody
	// brings it down.
	if before.Up != i.Up && (i.Up || !i.Loopback) {
		p.add(SetUp{i})
	}
}

// addEntries adds routes, those through a gateway last, and neighbours.
func (p *plan) addEntries() {
	for _, through := range []bool{false, true} {
		for _, r := range p.to.Routes {
			if r.Gateway.IsValid() != through || !p.fresh[r.Interface] && slices.Contains(p.from.Routes, r) {
				continue
			}
			i, _ := p.to.Find(r.Interface)
			if r.Interface == 0 || i.Up || i.Loopback {
				p.add(AddRoute{i, r})
			}
		}
	}
	for _, e := range p.to.Neighbours {
		if p.fresh[e.Interface] || !slices.Contains(p.from.Neighbours, e) {
			i, _ := p.to.Find(e.Interface)
			p.add(AddNeighbour{i, e})
		}
	}
}

// InterfaceSysctl returns the path below /proc/sys/net of an interface's sysctl
// as [InterfaceSysctls] names it.
func InterfaceSysctl(iface, name string) string {
	family, rest := name[:len("ipv4")], name[len("ipv4/"):]
	return family + "/conf/" + iface + "/" + rest
}
