// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// CRL is the name of the list of revoked certificates that Revoke writes.
const CRL = "revoked.crl"

const pemCRL = "X509 CRL"

// Revoked are the certificates of some lists (RFC 5280, section 5). The zero value has none.
type Revoked map[string]time.Time

// revokedKey tells certificates apart.
func revokedKey(issuer []byte, serial *big.Int) string {
	return string(issuer) + "\x00" + serial.String()
}

// Of tells whether a certificate is revoked, and since when.
func (r Revoked) Of(c *x509.Certificate) (since time.Time, is bool) {
	since, is = r[revokedKey(c.RawIssuer, c.SerialNumber)]
	return since, is
}

// check fails for a certificate that is revoked.
func (r Revoked) check(c *x509.Certificate) error {
	if since, is := r.Of(c); is {
		return fmt.Errorf("certificate %q is revoked since %s", c.Subject.CommonName, date(since))
	}
	return nil
}

// ReadRevoked reads the lists in a PEM file; there must be one, and each must be of one of the authorities. A list that
// is out of date counts like any other: what it has revoked stays revoked.
func ReadRevoked(path string, authorities []*x509.Certificate) (Revoked, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all Revoked
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != pemCRL {
			continue
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if err := signedByOne(list, authorities); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if all == nil {
			all = Revoked{}
		}
		for _, e := range list.RevokedCertificateEntries {
			all[revokedKey(list.RawIssuer, e.SerialNumber)] = e.RevocationTime
		}
	}
	if all == nil {
		return nil, fmt.Errorf("%s: there is no list of revoked certificates in it", path)
	}
	return all, nil
}

func signedByOne(list *x509.RevocationList, authorities []*x509.Certificate) error {
	for _, ca := range authorities {
		if bytes.Equal(ca.RawSubject, list.RawIssuer) && list.CheckSignatureFrom(ca) == nil {
			return nil
		}
	}
	return fmt.Errorf("list of %q is signed by none of the authorities", list.Issuer.CommonName)
}

// Revoke adds certificates to the list revoked.crl of an authority, both in dir. The certificates must be of that
// authority. One that is revoked already stays so. The list is replaced as a whole or not at all.
func Revoke(dir string, certificates ...*x509.Certificate) error {
	if err := revoke(dir, certificates, time.Now()); err != nil {
		return fmt.Errorf("revoke certificates: %w", err)
	}
	return nil
}

func revoke(dir string, certificates []*x509.Certificate, now time.Time) error {
	ca, err := readAuthority(dir)
	if err != nil {
		return err
	}
	template := x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: ca.cert.NotAfter}
	path := filepath.Join(dir, CRL)
	old, err := readList(path)
	switch {
	case err == nil:
		template.Number.Add(old.Number, template.Number)
		template.RevokedCertificateEntries = old.RevokedCertificateEntries
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	for _, c := range certificates {
		if err := c.CheckSignatureFrom(ca.cert); err != nil {
			return fmt.Errorf("certificate %q is of another authority: %w", c.Subject.CommonName, err)
		}
		if !listed(template.RevokedCertificateEntries, c) {
			template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
				x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: now})
		}
	}
	der, err := x509.CreateRevocationList(rand.Reader, &template, ca.cert, ca.key)
	if err != nil {
		return err
	}
	return file{CRL, 0o644, pem.EncodeToMemory(&pem.Block{Type: pemCRL, Bytes: der})}.replace(dir)
}

func listed(entries []x509.RevocationListEntry, c *x509.Certificate) bool {
	for _, e := range entries {
		if e.SerialNumber.Cmp(c.SerialNumber) == 0 {
			return true
		}
	}
	return false
}

// readList reads the one list that Revoke has written.
func readList(path string) (*x509.RevocationList, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != pemCRL {
		return nil, fmt.Errorf("%s: there is no list of revoked certificates in it", path)
	}
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

// readAuthority reads the authority that Init has made.
func readAuthority(dir string) (pair, error) {
	own, err := readPair(filepath.Join(dir, CACert), filepath.Join(dir, CAKey))
	if err != nil {
		return pair{}, err
	}
	key, ok := own.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !own.Leaf.IsCA {
		return pair{}, fmt.Errorf("%s is not an authority that this program has made", filepath.Join(dir, CACert))
	}
	return pair{own.Leaf, key}, nil
}
