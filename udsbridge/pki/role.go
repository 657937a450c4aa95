// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/x509"
	"fmt"
	"slices"
)

// Role is an end of a link.
type Role string

// The two ends. The DPU dials and the HOST listens.
const (
	RoleHost Role = "host"
	RoleDPU  Role = "dpu"
)

// URI returns the URI by which a certificate names its holder's role.
func (r Role) URI() string { return "offload://" + string(r) }

// Peer returns the other role.
func (r Role) Peer() Role {
	if r == RoleHost {
		return RoleDPU
	}
	return RoleHost
}

func (r Role) validate() error {
	if r != RoleHost && r != RoleDPU {
		return fmt.Errorf("role %q is neither %q nor %q", string(r), RoleHost, RoleDPU)
	}
	return nil
}

// check reports whether a certificate is one of the role, for its end of TLS.
func (r Role) check(c *x509.Certificate) error {
	var roles []string
	for _, u := range c.URIs {
		if u.Scheme == "offload" {
			roles = append(roles, u.String())
		}
	}
	switch {
	case len(roles) == 0:
		return fmt.Errorf("certificate %q has no role; want %s", c.Subject.CommonName, r.URI())
	case !slices.Contains(roles, r.URI()):
		return fmt.Errorf("certificate %q is of role %v; want %s", c.Subject.CommonName, roles, r.URI())
	}
	return nil
}

// usage is what a certificate of the role must be good for.
func (r Role) usage() x509.ExtKeyUsage {
	if r == RoleHost {
		return x509.ExtKeyUsageServerAuth
	}
	return x509.ExtKeyUsageClientAuth
}
