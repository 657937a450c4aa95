// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/pki"
)

// protection says how connections to another machine are protected. The variables
// are for a rexec under the name of another program, which has no flags.
type protection struct {
	pki.Files
	insecure bool
}

func usualProtection() protection {
	return protection{Files: pki.Files{
		CA: os.Getenv("REXEC_CA"), Cert: os.Getenv("REXEC_CERT"), Key: os.Getenv("REXEC_KEY"), CRL: os.Getenv("REXEC_CRL"),
	}}
}

func (p *protection) register(f *pflag.FlagSet) {
	f.StringVar(&p.CA, "ca", p.CA, "`file` with the certificate of the authority, for tcp and vsock (variable REXEC_CA)")
	f.StringVar(&p.Cert, "cert", p.Cert, "`file` with this machine's certificate (variable REXEC_CERT)")
	f.StringVar(&p.Key, "key", p.Key, "`file` with the key to it (variable REXEC_KEY)")
	f.StringVar(&p.CRL, "crl", p.CRL, "`file` with certificates that are revoked (variable REXEC_CRL)")
	f.BoolVar(&p.insecure, "insecure", p.insecure, "allow tcp and vsock that nothing protects")
}

// security returns what protects the link at an address. peerCID is the only vsock
// context that may connect, or 0.
func (p *protection) security(role pki.Role, a link.Address, peerCID uint32) (link.Security, error) {
	s := link.Security{Insecure: p.insecure, PeerCID: peerCID}
	if p.CA != "" || p.Cert != "" || p.Key != "" {
		var err error
		if s.TLS, err = pki.LoadTLS(role, p.Files); err != nil {
			return s, err
		}
	}
	if role == pki.RoleHost && a.Scheme == link.SchemeVsock && s.TLS == nil && peerCID == 0 && !p.insecure {
		return s, fmt.Errorf("%s: vsock for everybody must be allowed explicitly: --peer-cid, certificates or --insecure", a)
	}
	return s, s.Validate(a)
}
