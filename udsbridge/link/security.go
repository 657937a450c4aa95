// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link

import (
	"crypto/tls"
	"errors"
	"fmt"
)

// ErrInsecure is wrapped by the error for a tcp address that is neither protected
// by TLS nor explicitly allowed to go without.
var ErrInsecure = errors.New("tcp without TLS must be allowed explicitly")

// Security says how a link is protected.
type Security struct {
	// TLS protects the link; nil means no TLS. See pki.LoadTLS.
	TLS *tls.Config
	// Insecure allows tcp without TLS.
	Insecure bool
	// PeerCID is the only vsock context id whose connections a listener takes; 0
	// means any. Dialers ignore it.
	PeerCID uint32
}

// Validate reports whether the security suits an address: tcp needs TLS or
// Insecure.
func (s Security) Validate(a Address) error {
	if a.Scheme == SchemeTCP && s.TLS == nil && !s.Insecure {
		return fmt.Errorf("%s: %w", a, ErrInsecure)
	}
	return nil
}

// admits reports whether connections from a vsock context id are taken.
func (s Security) admits(cid uint32) bool { return s.PeerCID == 0 || s.PeerCID == cid }
