// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/container-offload/offload/udsbridge/pki"
)

func pkiRenewCommand() *cobra.Command {
	var (
		dir    string
		days   int
		format formatFlag
	)
	cmd := &cobra.Command{
		Use:   "renew host|dpu",
		Short: "Make a new certificate for one end, of the same authority",
		Long: `Make a new certificate and key for one end, of the authority whose ca.crt and
ca.key are in the directory. They replace ROLE.crt and ROLE.key there; the old
certificate is kept as ROLE.crt.old, which "offloadctl pki revoke" takes.

The daemon of that end reads both files again at its next connection.`,
		Example: `  offloadctl pki renew dpu --dir ./pki
  offloadctl pki renew host --dir ./pki --days 90`,
		ValidArgs: []string{string(pki.RoleHost), string(pki.RoleDPU)},
		Args:      arguments(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		RunE: func(cmd *cobra.Command, args []string) error {
			validity, err := ofDays(days)
			if err != nil {
				return err
			}
			if err := pki.Renew(dir, pki.Role(args[0]), validity); err != nil {
				return err
			}
			return format.printFiles(cmd, dir, args[0]+".crt", args[0]+".key", args[0]+".crt.old")
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultPKI, "`directory` with the authority and the certificates")
	cmd.Flags().IntVar(&days, "days", int(pki.DefaultValidity/(24*time.Hour)), "how many `days` the certificate is good")
	format.add(cmd)
	return cmd
}

func pkiRevokeCommand() *cobra.Command {
	var (
		dir    string
		format formatFlag
	)
	cmd := &cobra.Command{
		Use:   "revoke FILE...",
		Short: "Put certificates on the authority's list of revoked ones",
		Long: `Put the certificates in the given files on the list revoked.crl of the authority
whose ca.crt and ca.key are in the directory. What is on the list stays there.

An end takes none of them from its next connection on, if link.tls.crl names its
copy of the list.`,
		Example: `  offloadctl pki revoke --dir ./pki ./pki/dpu.crt.old`,
		Args:    arguments(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			var all []*x509.Certificate
			for _, file := range files {
				in, err := pki.ReadCertificates(file)
				if err != nil {
					return fmt.Errorf("revoke certificates: %w", err)
				}
				all = append(all, in...)
			}
			if err := pki.Revoke(dir, all...); err != nil {
				return err
			}
			return format.printFiles(cmd, dir, pki.CRL)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultPKI, "`directory` with the authority and its list")
	format.add(cmd)
	return cmd
}

// printFiles prints the paths of files that were made in dir.
func (f formatFlag) printFiles(cmd *cobra.Command, dir string, names ...string) error {
	paths := make([]string, 0, len(names))
	for _, name := range names {
		paths = append(paths, filepath.Join(dir, name))
	}
	return f.print(cmd.OutOrStdout(), paths, func(p *printer) {
		for _, path := range paths {
			p.line("%s", path)
		}
	})
}

// revokedIn reads the list of the authority in dir. There need not be one.
func revokedIn(dir string) (pki.Revoked, error) {
	path := filepath.Join(dir, pki.CRL)
	if _, err := os.Stat(path); os.IsNotExist(err) {
		return nil, nil
	}
	authorities, err := pki.ReadCertificates(filepath.Join(dir, pki.CACert))
	if err != nil {
		return nil, err
	}
	return pki.ReadRevoked(path, authorities)
}
