// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/network/steer"
	"github.com/container-offload/offload/network/twin"
	"github.com/container-offload/offload/network/wire"
)

const (
	wait = 30 * time.Second
	tick = 10 * time.Millisecond
)

func prefix(s string) twin.Address { return twin.Address{Prefix: netip.MustParsePrefix(s)} }

func described() *twin.Namespace {
	return &twin.Namespace{
		Interfaces: []twin.Interface{
			{ID: 1, Name: "lo", Loopback: true},
			{ID: 7, Name: "eth0", MAC: "02:42:ac:11:00:02", MTU: 1500, Up: true, Addresses: []twin.Address{prefix("172.17.0.2/16")}},
		},
		Routes: []twin.Route{{Type: twin.Unicast, Destination: netip.MustParsePrefix("0.0.0.0/0"), Interface: 7, Gateway: netip.MustParseAddr("172.17.0.1")}},
	}
}

func TestStepsOfAReport(t *testing.T) {
	for _, c := range []struct {
		name   string
		change wire.Change
		want   []string
	}{
		{"nothing", wire.Change{ID: 7}, nil},
		{"an address", wire.Change{ID: 7, Added: []twin.Address{prefix("172.17.0.9/16")}}, []string{"add 172.17.0.9/16 to interface eth0"}},
		{"one that is there", wire.Change{ID: 7, Added: []twin.Address{prefix("172.17.0.2/16")}}, nil},
		{"one less", wire.Change{ID: 7, Removed: []twin.Address{prefix("172.17.0.2/16")}}, []string{"remove 172.17.0.2/16 from interface eth0"}},
		{"one less that is not there", wire.Change{ID: 7, Removed: []twin.Address{prefix("10.0.0.1/8")}}, nil},
		{"a MAC", wire.Change{ID: 7, MAC: "02:00:00:00:00:01"}, []string{"give interface eth0 address 02:00:00:00:00:01 and mtu 1500"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			steps, err := stepsOf(&wire.Report{Interfaces: []wire.Change{c.change}}, described())
			require.NoError(t, err)
			var got []string
			for _, s := range steps {
				got = append(got, s.String())
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestWhomFramesMayComeFrom(t *testing.T) {
	look := described()
	look.Interfaces[0].Addresses = []twin.Address{prefix("10.255.0.1/32")}
	other := twin.Interface{ID: 8, Name: "eth1", MAC: "02:42:ac:12:00:02", Addresses: []twin.Address{prefix("172.18.0.2/16"), prefix("fd00::2/64")}}
	look.Interfaces = append(look.Interfaces, other)
	s, err := senderOf(look, other)
	require.NoError(t, err)
	require.Equal(t, steer.Sender{MAC: [6]byte{2, 0x42, 0xac, 0x12, 0, 2}, Addresses: []netip.Addr{
		netip.MustParseAddr("172.18.0.2"), netip.MustParseAddr("fd00::2"),
		netip.MustParseAddr("10.255.0.1"), netip.MustParseAddr("172.17.0.2"),
	}}, s, "its own first, then those of all others")

	for i := range steer.MaxAddresses {
		look.Interfaces[1].Addresses = append(look.Interfaces[1].Addresses, prefix(fmt.Sprintf("10.0.%d.%d/8", i/256, i%256)))
	}
	s, err = senderOf(look, other)
	require.NoError(t, err)
	require.Len(t, s.Addresses, steer.MaxAddresses, "as many as there is room for")
	require.Equal(t, other.Addresses[1].Prefix.Addr(), s.Addresses[1])
}

func TestReportsThatAreRefused(t *testing.T) {
	var many []twin.Address
	for i := range steer.MaxAddresses + 1 {
		many = append(many, prefix(fmt.Sprintf("10.0.%d.%d/8", i/256, i%256)))
	}
	for want, change := range map[string]wire.Change{
		"interface 9, which is not there": {ID: 9, MAC: "02:00:00:00:00:01"},
		"interface 1, which is not there": {ID: 1, Added: []twin.Address{prefix("10.0.0.1/8")}},
		"no Ethernet address":             {ID: 7, MAC: "ff:ff:ff:ff:ff:ff"},
		"bad address":                     {ID: 7, Added: []twin.Address{{}}},
		"258 addresses":                   {ID: 7, Added: many},
	} {
		_, err := stepsOf(&wire.Report{Interfaces: []wire.Change{change}}, described())
		require.ErrorContains(t, err, want)
	}
}
