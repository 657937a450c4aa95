// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link

import (
	"cmp"
	"context"
	"fmt"
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
	// Patient makes a Dial try again within ConnectTimeout as long as nothing
	// listens at the address, as while the HOST's agent is restarted.
	Patient bool
}

// Bounds of the pause between two attempts of a patient Dial.
const (
	shortestPause = 10 * time.Millisecond
	longestPause  = 200 * time.Millisecond
)

// Dial connects to a target. The error says what was dialled and tells apart a
// HOST that refuses the connection, one that does not answer, a certificate that
// is not good and a peer that is not the HOST. The HOST's own verdict comes with
// the first Read, as a *RefusedError.
func (d *Dialer) Dial(ctx context.Context, target Target) (net.Conn, error) {
	conn, err := d.dial(ctx, target)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", target, err)
	}
	return conn, nil
}

func (d *Dialer) dial(ctx context.Context, target Target) (net.Conn, error) {
	if err := target.Validate(); err != nil {
		return nil, err
	}
	if err := d.Security.Validate(d.Address); err != nil {
		return nil, err
	}
	timeout := cmp.Or(d.ConnectTimeout, DefaultConnectTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	plain, err := d.connect(ctx)
	if err != nil {
		return nil, describe(d.Address, err)
	}
	var conn halfCloser
	err = within(ctx, plain, func() error {
		conn, err = d.greet(ctx, plain, preamble{tls: d.Security.TLS != nil, target: target})
		return err
	})
	if err != nil {
		plain.Close()
		return nil, describe(d.Address, err)
	}
	return &dialled{halfCloser: conn, address: d.Address}, nil
}

// connect makes a socket to the HOST, as patiently as d is.
func (d *Dialer) connect(ctx context.Context) (plainConn, error) {
	var absent error
	for pause := shortestPause; ; pause = min(2*pause, longestPause) {
		plain, err := connect(ctx, d.Address)
		if err != nil && absent != nil && ctx.Err() != nil {
			// That nothing listens says more than that time is up.
			return nil, absent
		}
		if err == nil || !d.Patient || !nobodyThere(err) {
			return plain, err
		}
		absent = err
		select {
		case <-ctx.Done():
			return nil, absent
		case <-time.After(pause):
		}
	}
}

// greet sends the preamble and does TLS upon it.
func (d *Dialer) greet(ctx context.Context, plain plainConn, p preamble) (halfCloser, error) {
	b := p.encode()
	if _, err := plain.Write(b); err != nil {
		return nil, err
	}
	if !p.tls {
		return plain, nil
	}
	below := &sniffer{plainConn: plain}
	conn := newClient(plain, below, d.Security.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		if below.refused != "" {
			// Whoever is on the way can say so, and it is no verdict.
			return nil, fmt.Errorf("%w before TLS, which anybody may have said: %s", errRefused, below.refused)
		}
		return nil, &handshakeError{err}
	}
	_, err := conn.Write(b)
	return conn, err
}

// within calls f, whose use of conn fails when ctx ends.
func within(ctx context.Context, conn net.Conn, f func() error) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err := f()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
	}
	return err
}

// RefusedError says that the HOST refused a connection.
type RefusedError struct {
	Address Address
	// Reason is a sentence without control characters.
	Reason string
}

func (e *RefusedError) Error() string {
	return "HOST " + e.Address.String() + " refuses the connection: " + e.Reason
}
