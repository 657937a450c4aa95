// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"net"
	"os"
)

// Listener accepts connections from the DPU. Its methods may be called
// concurrently.
type Listener struct{}

// Listen listens on an address. A unix socket that a dead process has left is
// replaced, and Close removes the socket.
func Listen(ctx context.Context, a Address, security Security) (*Listener, error) {
	panic("link: not there yet")
}

// Accept returns the next connection whose preamble has been read. Those that
// send none in time, or a bad one, are refused without Accept returning. After
// Close the error wraps net.ErrClosed.
func (l *Listener) Accept() (*Incoming, error) { panic("link: not there yet") }

// Addr returns the address the listener has, with the port it got.
func (l *Listener) Addr() Address { panic("link: not there yet") }

// Close stops listening and drops the connections that Accept has not returned.
func (l *Listener) Close() error { panic("link: not there yet") }

// Incoming is a connection whose preamble has been read and nothing else. It
// belongs to one goroutine at a time.
type Incoming struct {
	Target Target
	// Peer is the other end's address, as the kernel tells.
	Peer string
}

// Handover rebuilds an Incoming from a descriptor that another process got from
// File and sent along with the target. f stays the caller's. security must be as
// that other process had it.
func Handover(f *os.File, target Target, security Security) (*Incoming, error) {
	panic("link: not there yet")
}

// File returns a duplicate of the connection, to be passed to another process.
// Both must be closed.
func (in *Incoming) File() (*os.File, error) { panic("link: not there yet") }

// Handshake completes the connection: TLS if the security asks for it, and the
// repeated target must be the preamble's. It takes ten seconds at most. The
// connection is the caller's from then on, and in is used up. On error the peer
// has been told why, as far as possible, and the connection is closed.
func (in *Incoming) Handshake(ctx context.Context) (net.Conn, error) { panic("link: not there yet") }

// Refuse ends the connection and tells the peer why: its first Read fails with a
// *RefusedError that has the text of reason, cut to 1 KiB.
func (in *Incoming) Refuse(ctx context.Context, reason error) error { panic("link: not there yet") }

// Close drops the connection. It does nothing after Handshake or Refuse.
func (in *Incoming) Close() error { panic("link: not there yet") }
