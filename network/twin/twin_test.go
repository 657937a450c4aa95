// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package twin

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func address(s string) Address { return Address{Prefix: netip.MustParsePrefix(s)} }

func route(to, via string, iface uint32) Route {
	r := Route{Type: Unicast, Destination: netip.MustParsePrefix(to), Interface: iface}
	if via != "" {
		r.Gateway = netip.MustParseAddr(via)
	} else {
		r.Link = true
	}
	return r
}

func example() *Namespace {
	return &Namespace{
		Interfaces: []Interface{
			{ID: 1, Name: "lo", Loopback: true, Addresses: []Address{address("10.0.0.9/32")}},
			{
				ID: 7, Name: "eth0", MAC: "02:42:ac:11:00:02", MTU: 1500, Up: true,
				Addresses: []Address{{Prefix: netip.MustParsePrefix("172.17.0.2/16"), Broadcast: netip.MustParseAddr("172.17.255.255")}, address("fd00::2/64")},
				Sysctls:   map[string]string{"ipv6/disable_ipv6": "0"},
			},
		},
		Routes:     []Route{route("0.0.0.0/0", "172.18.0.1", 7), route("172.18.0.1/32", "", 7)},
		Neighbours: []Neighbour{{Interface: 7, Address: netip.MustParseAddr("172.17.0.3"), MAC: "02:42:ac:11:00:03"}},
		Sysctls:    map[string]string{"ipv6/conf/all/disable_ipv6": "0"},
		Resolver:   true,
	}
}

func steps(from, to *Namespace) (out []string) {
	for _, s := range Plan(from, to) {
		out = append(out, s.String())
	}
	return out
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Namespace)
		want   []string
	}{
		{"nothing", func(*Namespace) {}, nil},
		{"another address", func(n *Namespace) { n.Interfaces[1].Addresses[0] = address("172.17.0.4/16") }, []string{
			"remove 172.17.0.2/16 from interface eth0", "add 172.17.0.4/16 to interface eth0",
		}},
		{"another mtu", func(n *Namespace) { n.Interfaces[1].MTU = 1400 }, []string{"give interface eth0 address 02:42:ac:11:00:02 and mtu 1400"}},
		{"down", func(n *Namespace) { n.Interfaces[1].Up = false; n.Routes = nil; n.Neighbours = nil }, []string{
			`remove route to 0.0.0.0/0 on "eth0"`, `remove route to 172.18.0.1/32 on "eth0"`, "remove neighbour 172.17.0.3 on eth0", "bring interface eth0 down",
		}},
		{"a sysctl", func(n *Namespace) { n.Interfaces[1].Sysctls = map[string]string{"ipv6/disable_ipv6": "1"} }, []string{"set sysctl ipv6/conf/eth0/disable_ipv6 to 1"}},
		{"one of lo", func(n *Namespace) { n.Interfaces[0].Addresses = nil }, []string{"remove 10.0.0.9/32 from interface lo"}},
		{"gone", func(n *Namespace) { *n = *n.Without(7) }, []string{"remove interface eth0"}},
		{"another name", func(n *Namespace) {
			n.Interfaces[1].Name = "net1"
			n.Routes = nil
			n.Neighbours = nil
			n.Interfaces[1].Sysctls = nil
		}, []string{
			"remove interface eth0", "add interface net1", "add 172.17.0.2/16 to interface net1", "add fd00::2/64 to interface net1", "bring interface net1 up",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := example()
			c.change(to)
			require.Equal(t, c.want, steps(example(), to))
		})
	}
}

func TestPlanFromNothing(t *testing.T) {
	require.Equal(t, []string{
		"set sysctl ipv6/conf/all/disable_ipv6 to 0",
		"add 10.0.0.9/32 to interface lo",
		"add interface eth0",
		"set sysctl ipv6/conf/eth0/disable_ipv6 to 0",
		"add 172.17.0.2/16 to interface eth0",
		"add fd00::2/64 to interface eth0",
		"bring interface eth0 up",
		`add route to 172.18.0.1/32 on "eth0"`, // before the route through it
		`add route to 0.0.0.0/0 on "eth0"`,
		"add neighbour 172.17.0.3 on eth0",
	}, steps(&Namespace{}, example()))
}

// An interface that was down has lost its routes, its neighbours and its IPv6
// addresses: they are given again though the description has had them.
func TestPlanUpAgain(t *testing.T) {
	down := example()
	down.Interfaces[1].Up = false
	require.Equal(t, []string{
		"add fd00::2/64 to interface eth0", "bring interface eth0 up",
		`add route to 172.18.0.1/32 on "eth0"`, `add route to 0.0.0.0/0 on "eth0"`, "add neighbour 172.17.0.3 on eth0",
	}, steps(down, example()))
}

func TestCheck(t *testing.T) {
	require.NoError(t, example().Check())
	for want, change := range map[string]func(*Namespace){
		"bad name":                       func(n *Namespace) { n.Interfaces[1].Name = "../x" },
		"bad name ":                      func(n *Namespace) { n.Interfaces[1].Name = "sixteen-letters-" },
		"is there twice":                 func(n *Namespace) { n.Interfaces = append(n.Interfaces, n.Interfaces[1]) },
		"mtu 10 is out of range":         func(n *Namespace) { n.Interfaces[1].MTU = 10 },
		"no Ethernet address":            func(n *Namespace) { n.Interfaces[1].MAC = "01:00:5e:00:00:01" },
		"loopback is lo":                 func(n *Namespace) { n.Interfaces[0].Name = "eth9" },
		"has no id":                      func(n *Namespace) { n.Interfaces[0].ID = 0 },
		"is not carried over":            func(n *Namespace) { n.Sysctls["core/somaxconn"] = "1" },
		"is not carried over ":           func(n *Namespace) { n.Interfaces[1].Sysctls["../../kernel/panic"] = "1" },
		"value of 99 bytes":              func(n *Namespace) { n.Sysctls["ipv6/conf/all/disable_ipv6"] = strings.Repeat("1", 99) },
		"leads through no interface":     func(n *Namespace) { n.Routes[0].Interface = 99 },
		"unknown type":                   func(n *Namespace) { n.Routes[0].Type = "throw" },
		"has no address or no interface": func(n *Namespace) { n.Neighbours[0].Interface = 3 },
		"has no destination":             func(n *Namespace) { n.Routes[0].Destination = netip.Prefix{} },
		"source of another family":       func(n *Namespace) { n.Routes[0].Source = netip.MustParseAddr("fd00::1") },
		"too many":                       func(n *Namespace) { n.Routes = make([]Route, maxEntries+1) },
	} {
		n := example()
		change(n)
		require.ErrorContains(t, n.Check(), strings.TrimSpace(want))
	}
}

func TestDescriptionsSurviveTheWire(t *testing.T) {
	b, err := json.Marshal(example())
	require.NoError(t, err)
	var got Namespace
	require.NoError(t, json.Unmarshal(b, &got))
	require.True(t, got.Equal(example()))
}

func TestBare(t *testing.T) {
	require.True(t, (&Namespace{}).Bare())
	require.True(t, (&Namespace{Interfaces: []Interface{{ID: 1, Name: "lo", Loopback: true}}}).Bare())
	require.False(t, (&Namespace{Resolver: true}).Bare())
	require.False(t, example().Bare())
}

// Any two descriptions have a plan, and none from itself to itself.
func FuzzPlan(f *testing.F) {
	b, err := json.Marshal(example())
	require.NoError(f, err)
	f.Add(b, []byte(`{}`))
	f.Add([]byte(`{"interfaces":[{"id":1,"name":"eth0"}]}`), b)
	f.Fuzz(func(t *testing.T, x, y []byte) {
		var from, to Namespace
		if json.Unmarshal(x, &from) != nil || json.Unmarshal(y, &to) != nil || from.Check() != nil || to.Check() != nil {
			return
		}
		for _, s := range Plan(&from, &to) {
			_ = s.String()
		}
		if steps := Plan(&to, &to); len(steps) != 0 {
			t.Fatalf("from itself to itself: %v", steps)
		}
	})
}
