// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package carrier

import (
	"context"
	"net"
	"net/netip"
	"os"
)

// Names of carriers, as the configuration has them.
const (
	Tunnel = "tunnel"
	VXLAN  = "vxlan"
)

// Place is where a port shall be.
type Place struct {
	// NS is the namespace the port's device shall be in.
	NS *os.File
	// Name is the device's name.
	Name string
	// MTU is the interface's, in bytes.
	MTU int
}

// Terms are what the DPU offers the HOST for an interface, and what the HOST
// answers. They cross the link.
type Terms struct {
	Carrier string `json:"carrier"`
	// Offloads (tunnel) are the kinds of large and unfinished frames that the
	// sender of the terms can take; see package tunnel.
	Offloads []string `json:"offloads,omitempty"`
	// VNI (vxlan) tells the networks between two machines apart.
	VNI uint32 `json:"vni,omitempty"`
	// Endpoint (vxlan) is where the sender of the terms takes packets.
	Endpoint netip.AddrPort `json:"endpoint,omitzero"`
}

// Carrier makes ports of one kind. Its methods may be called concurrently.
type Carrier interface {
	// Name is the kind's name.
	Name() string
	// Offer makes a port on the DPU and returns the terms for the HOST.
	Offer(ctx context.Context, p Place) (Port, Terms, error)
	// Accept makes the port on the HOST that the terms ask for and returns the
	// answer.
	Accept(ctx context.Context, p Place, t Terms) (Port, Terms, error)
}

// Port is one end of what carries an interface's frames. Its device is down
// until somebody brings it up.
type Port interface {
	// Index returns the index of the device in its namespace.
	Index() int
	// Agree tells the port on the DPU what the HOST has answered.
	Agree(Terms) error
	// Streams tells whether frames travel in a stream, which Carry needs.
	Streams() bool
	// Carry moves frames between the device and the stream until either ends.
	// It closes the stream. It is called once.
	Carry(net.Conn) error
	// Close removes the device and ends Carry.
	Close() error
}
