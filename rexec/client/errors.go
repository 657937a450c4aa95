// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"fmt"

	"github.com/container-offload/offload/rexec/wire"
)

// RefusedError is the server's answer that it could not do what was asked for.
type RefusedError struct {
	Reason wire.Reason
	// Text is the server's, without control characters.
	Text string
}

func (e *RefusedError) Error() string { return e.Text }

func refused(m *wire.Failed) error {
	text := []rune(m.Text)
	for i, r := range text {
		if r < ' ' || r == 0x7f {
			text[i] = ' '
		}
	}
	return &RefusedError{m.Reason, string(text)}
}

func unexpected(m wire.Message) error { return fmt.Errorf("unexpected answer %T", m) }
