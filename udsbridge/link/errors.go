// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// ErrNotHost is wrapped by the error of a Dial, or of the first Read, if what
// listens at the address is not a HOST of this project.
var ErrNotHost = errors.New("the peer is not the HOST")

// errRefused makes a TLS handshake end after a refusal in the clear.
var errRefused = errors.New("the connection is refused")

// handshakeError is one of TLS.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// describe says what an error means for a connection to an address.
func describe(a Address, err error) error {
	var (
		timeout   net.Error
		record    tls.RecordHeaderError
		alert     tls.AlertError
		remote    *net.OpError
		handshake *handshakeError
		version   *errVersion
	)
	inTLS := errors.As(err, &handshake)
	switch {
	case errors.Is(err, errRefused):
		return fmt.Errorf("HOST %s: %w", a, err)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("HOST %s: gave up: %w", a, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout(),
		errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTDOWN):
		return fmt.Errorf("HOST %s does not answer: %w", a, err)
	case nobodyThere(err):
		return fmt.Errorf("HOST %s: nothing listens there: %w", a, err)
	case errors.As(err, &record), errors.Is(err, errForeign):
		return fmt.Errorf("%s: %w: %w", a, ErrNotHost, err)
	case errors.As(err, &alert) || errors.As(err, &remote) && remote.Op == "remote error":
		return fmt.Errorf("HOST %s does not accept this side's certificate or TLS: %w", a, err)
	case errors.As(err, &version):
		return fmt.Errorf("HOST %s: %w", a, err)
	case isCut(err):
		return fmt.Errorf("HOST %s cut the connection before it answered: %w", a, err)
	case inTLS:
		return fmt.Errorf("HOST %s: its certificate is not good: %w", a, err)
	default:
		return fmt.Errorf("HOST %s: %w", a, err)
	}
}

// nobodyThere tells whether nothing listens at an address.
func nobodyThere(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT)
}

func isCut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
