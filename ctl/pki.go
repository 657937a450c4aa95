// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/container-offload/offload/udsbridge/pki"
)

// defaultPKI is where certificates are by default.
const defaultPKI = "/etc/offload/pki"

func pkiCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "pki",
		Short: "Make and show the certificates of a link",
		Long: `A link over tcp is protected by mutual TLS 1.3: one authority signs one
certificate for the HOST and one for the DPU, and each end takes nobody but the
other. These commands make such an authority, renew and revoke what it has signed,
and look at what there is.`,
	})
	cmd.AddCommand(pkiInitCommand(), pkiRenewCommand(), pkiRevokeCommand(), pkiShowCommand())
	return cmd
}

func pkiInitCommand() *cobra.Command {
	var (
		dir    string
		sans   []string
		days   int
		format formatFlag
	)
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make an authority and the certificates of both ends",
		Long: `Make an authority and one certificate for each end: ca.crt, ca.key, host.crt,
host.key, dpu.crt and dpu.key, the keys readable by their owner only. A file that
is there already is never overwritten.

The HOST gets ca.crt, host.crt and host.key; the DPU gets ca.crt, dpu.crt and
dpu.key. Keep ca.key on neither of them: whoever has it can make certificates for
both ends.`,
		Example: `  offloadctl pki init --dir /etc/offload/pki
  offloadctl pki init --dir ./pki --days 90 --san host.example`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			validity, err := ofDays(days)
			if err != nil {
				return err
			}
			if err := pki.Init(dir, pki.Options{Validity: validity, ExtraSANs: sans}); err != nil {
				return err
			}
			made := []string{pki.CACert, pki.CAKey}
			for _, role := range []pki.Role{pki.RoleHost, pki.RoleDPU} {
				made = append(made, string(role)+".crt", string(role)+".key")
			}
			return format.printFiles(cmd, dir, made...)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultPKI, "`directory` to make the files in; it is made if need be")
	cmd.Flags().StringArrayVar(&sans, "san", nil, "further DNS `name` or IP address of the HOST in its certificate, for other programs: links check roles, not names")
	cmd.Flags().IntVar(&days, "days", int(pki.DefaultValidity/(24*time.Hour)), "how many `days` the certificates are good")
	format.add(cmd)
	return cmd
}

// ofDays is the validity that --days asks for.
func ofDays(days int) (time.Duration, error) {
	if days < 1 {
		return 0, &usageError{fmt.Errorf("--days %d: certificates must be good for a day at least", days)}
	}
	return time.Duration(days) * 24 * time.Hour, nil
}

// certificate is what there is to say about one.
type certificate struct {
	File      string    `json:"file"`
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Authority bool      `json:"authority"`
	Roles     []string  `json:"roles"`
	Names     []string  `json:"names"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	// SHA256 is the fingerprint, in hexadecimal.
	SHA256 string `json:"sha256"`
	// Revoked is since when it is on the authority's list.
	Revoked *time.Time `json:"revoked,omitempty"`
}

func pkiShowCommand() *cobra.Command {
	var (
		dir    string
		format formatFlag
	)
	cmd := &cobra.Command{
		Use:   "show [FILE...]",
		Short: "Show certificates: whose they are and how long they are good",
		Long: `Show the certificates in the given files, or in all files of a directory whose
names end in .crt. Keys are neither read nor shown. What is on the list
revoked.crl of the directory is marked.`,
		Example: `  offloadctl pki show
  offloadctl pki show /etc/offload/pki/dpu.crt -o json`,
		Args: arguments(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, files []string) error {
			if len(files) == 0 {
				var err error
				if files, err = filepath.Glob(filepath.Join(dir, "*.crt")); err != nil {
					return &usageError{fmt.Errorf("--dir %s: %w", dir, err)}
				}
				if len(files) == 0 {
					return fmt.Errorf("there is no certificate in %s; \"offloadctl pki init --dir %s\" makes some", dir, dir)
				}
			}
			revoked, err := revokedIn(dir)
			if err != nil {
				return fmt.Errorf("show certificates: %w", err)
			}
			found := []certificate{}
			for _, file := range files {
				in, err := pki.ReadCertificates(file)
				if err != nil {
					return fmt.Errorf("show certificates: %w", err)
				}
				for _, c := range in {
					found = append(found, describeCertificate(file, c, revoked))
				}
			}
			return format.print(cmd.OutOrStdout(), found, func(p *printer) { printCertificates(p, found, time.Now()) })
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultPKI, "`directory` to look in")
	format.add(cmd)
	return cmd
}

func describeCertificate(file string, c *x509.Certificate, revoked pki.Revoked) certificate {
	sum := sha256.Sum256(c.Raw)
	out := certificate{
		File: file, Subject: c.Subject.CommonName, Issuer: c.Issuer.CommonName, Authority: c.IsCA,
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, SHA256: hex.EncodeToString(sum[:]),
		Roles: []string{}, Names: append([]string{}, c.DNSNames...),
	}
	if since, is := revoked.Of(c); is {
		out.Revoked = &since
	}
	for _, ip := range c.IPAddresses {
		out.Names = append(out.Names, ip.String())
	}
	for _, u := range c.URIs {
		if u.Scheme == "offload" {
			out.Roles = append(out.Roles, u.Host)
		}
	}
	return out
}

func printCertificates(p *printer, found []certificate, now time.Time) {
	rows := make([][]cell, 0, len(found))
	for _, c := range found {
		role := strings.Join(c.Roles, ",")
		if c.Authority {
			role = "authority"
		}
		row := cells(c.File, role, c.Subject, strings.Join(c.Names, ","), "", c.SHA256[:16])
		row[4] = expiry(c.NotAfter, now)
		if c.Revoked != nil {
			row[4] = cell{"revoked " + c.Revoked.UTC().Format(time.DateOnly), red}
		}
		rows = append(rows, row)
	}
	p.table([]string{"FILE", "ROLE", "SUBJECT", "NAMES", "EXPIRES", "SHA256"}, rows)
}

// soon is when a certificate is about to expire.
const soon = 30 * 24 * time.Hour

// expiry says when a certificate expires.
func expiry(at, now time.Time) cell {
	left := at.Sub(now)
	day := at.UTC().Format(time.DateOnly)
	switch {
	case left <= 0:
		return cell{day + " (expired)", red}
	case left < soon:
		return cell{fmt.Sprintf("%s (in %d days)", day, int(left/(24*time.Hour))), yellow}
	}
	return cell{day, plain}
}
