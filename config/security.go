// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/tls"
	"fmt"

	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/pki"
)

// Dialer returns what connects to the HOST. It fails if the certificates can't
// be used.
func (c *DPU) Dialer() (*link.Dialer, error) {
	address, err := link.ParseAddress(c.Link.Address)
	if err != nil {
		return nil, fmt.Errorf("link.address: %w", err)
	}
	certificates, err := c.Link.TLS.load(pki.RoleDPU)
	if err != nil {
		return nil, err
	}
	return &link.Dialer{
		Address:        address,
		Security:       link.Security{TLS: certificates, Insecure: c.Link.Insecure},
		ConnectTimeout: c.Link.ConnectTimeout.Duration(),
	}, nil
}

// Security returns how the HOST's end of the link is protected. It fails if the
// certificates can't be used.
func (c *Host) Security() (link.Security, error) {
	certificates, err := c.Link.TLS.load(pki.RoleHost)
	if err != nil {
		return link.Security{}, err
	}
	return link.Security{TLS: certificates, Insecure: c.Link.Insecure, PeerCID: c.Link.PeerCID}, nil
}

// load returns the TLS configuration of one end, or nil if no files are given.
func (t TLS) load(role pki.Role) (*tls.Config, error) {
	if !t.Enabled() {
		return nil, nil
	}
	config, err := pki.LoadTLS(role, pki.Files{CA: t.CA, Cert: t.Cert, Key: t.Key, CRL: t.CRL, Pins: t.pins()})
	if err != nil {
		return nil, fmt.Errorf("link.tls: %w", err)
	}
	return config, nil
}
