// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"net"
	"time"
)

// DefaultConnectTimeout bounds a Dial without a ConnectTimeout of its own.
const DefaultConnectTimeout = 5 * time.Second

// Dialer makes connections to one HOST. Its methods may be called concurrently;
// its fields must not change after the first Dial.
type Dialer struct {
	Address  Address
	Security Security
	// ConnectTimeout bounds a Dial, the TLS handshake included. Default 5 seconds.
	ConnectTimeout time.Duration
}

// Dial connects to a target. The error says what was dialled and tells apart a
// HOST that refuses the connection, one that does not answer, a certificate that
// is not good and a peer that is not the HOST. The HOST's own verdict comes with
// the first Read, as a *RefusedError.
func (d *Dialer) Dial(ctx context.Context, target Target) (net.Conn, error) {
	panic("link: not there yet")
}

// RefusedError says that the HOST refused a connection.
type RefusedError struct {
	Address Address
	// Reason is a sentence without control characters.
	Reason string
}

func (e *RefusedError) Error() string {
	return "HOST " + e.Address.String() + " " + e.Reason
}
