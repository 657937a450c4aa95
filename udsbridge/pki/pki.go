// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"fmt"
	"time"
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

// Names of the files that Init makes. The files of a role are ROLE.crt and ROLE.key.
const (
	CACert = "ca.crt"
	CAKey  = "ca.key"
)

// Options say how Init makes certificates. Zero values mean the defaults.
type Options struct {
	// Validity is how long both ends' certificates are good. Default 3 years.
	Validity time.Duration
	// CAValidity is how long the authority is good, never less than Validity.
	// Default 10 years.
	CAValidity time.Duration
	// ExtraSANs are DNS names and IP addresses to put into the HOST's certificate,
	// for the sake of other programs: our own check roles, not names.
	ExtraSANs []string
}

// Init makes an authority and one certificate for each end in dir, which it makes
// if need be: ca.crt, ca.key, host.crt, host.key, dpu.crt and dpu.key, the keys
// readable by their owner only. It refuses to overwrite any of them and leaves
// nothing behind if it fails.
func Init(dir string, opts Options) error { panic("pki: not there yet") }

// LoadTLS returns the TLS configuration of one end: for RoleDPU that of a client
// which takes nobody but a HOST, for RoleHost that of a server which takes nobody
// but a DPU. TLS 1.3 only, both ends with certificates of the authority in ca.
// The files are read again when they have changed, at the next handshake; while
// what is there can't be used, what was there before is.
//
// Errors name the file and what is wrong with it: missing, unreadable, no
// certificate, expired, of the other role, not of this authority, not of this
// key.
func LoadTLS(role Role, ca, cert, key string) (*tls.Config, error) { panic("pki: not there yet") }
