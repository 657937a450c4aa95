// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/netip"
	"net/url"
)

// What network.carrier may be.
const (
	// CarrierTunnel carries containers' frames in the link's own streams.
	CarrierTunnel = "tunnel"
	// CarrierVXLAN carries them in the kernel, unencrypted, beside the link.
	CarrierVXLAN = "vxlan"
)

// Network says how the frames of containers cross. An interface is carried by
// what both ends allow: the tunnel, or VXLAN if both say so.
type Network struct {
	// Carrier is [CarrierTunnel] or [CarrierVXLAN].
	Carrier string `toml:"carrier"`
}

func defaultNetwork() Network { return Network{Carrier: CarrierTunnel} }

// check reports what can't work with a link at address, the value of key.
func (n Network) check(d *document, key, address string) {
	switch n.Carrier {
	case CarrierTunnel:
	case CarrierVXLAN:
		u, err := url.Parse(address)
		if err != nil {
			return // reported with the link
		}
		if _, err := netip.ParseAddr(u.Hostname()); u.Scheme != "tcp" || err != nil {
			d.report("network.carrier", "vxlan needs a link of tcp to an IP address, and %s is %q", key, address)
		}
	default:
		d.report("network.carrier", "%q is not known; use tunnel or vxlan", n.Carrier)
	}
}
