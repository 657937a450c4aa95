// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"
	"fmt"
)

var (
	// ErrLinkLost is wrapped by the errors of every stream of a session whose
	// connection was lost and did not come back in time, or which the peer no
	// longer knows. The text names the peer and the last reason.
	ErrLinkLost = errors.New("link lost")

	// ErrDisconnected is wrapped by the error of Open if the session has no
	// connection just now. Streams that are open already live on.
	ErrDisconnected = errors.New("link is down")

	// ErrClosed is wrapped by the errors of a session, and of its streams, that
	// either end has closed.
	ErrClosed = errors.New("session closed")

	// ErrProtocol is wrapped by the errors of a session that was ended because the
	// peer did what the protocol does not allow.
	ErrProtocol = errors.New("protocol violation")

	// ErrTooManyStreams is wrapped by the error of Open if as many streams are open
	// as the peer allows, or if their headers are 8 MiB.
	ErrTooManyStreams = errors.New("too many streams")
)

// ResetError is the error of a stream that one end has given up with Reset, or
// that the peer refused.
type ResetError struct {
	Service string
	// Reason is the text given to Reset. If Remote, it is the peer's and not to be
	// trusted further than any other text from there; it has no control characters.
	Reason string
	Remote bool
}

func (e *ResetError) Error() string {
	by := "here"
	if e.Remote {
		by = "by peer"
	}
	return fmt.Sprintf("stream %q reset %s: %s", e.Service, by, e.Reason)
}

// RefusedError is the error of Dial, or the reason of an ErrLinkLost, when the
// accepting end refused the session.
type RefusedError struct {
	// Reason is the accepting end's, without control characters.
	Reason string

	again bool // another connection may be taken
}

func (e *RefusedError) Error() string { return "session refused by peer: " + e.Reason }
