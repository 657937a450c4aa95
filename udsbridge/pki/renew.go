// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Renew makes a new certificate and key for one end, of the authority in dir, with the names that the old certificate
// has. They replace ROLE.crt and ROLE.key, and the old certificate is kept as ROLE.crt.old: [Revoke] takes it. A
// validity of zero is the default; it ends with the authority's at the latest.
func Renew(dir string, role Role, validity time.Duration) error {
	if err := renew(dir, role, cmp.Or(validity, DefaultValidity), time.Now()); err != nil {
		return fmt.Errorf("renew the certificate of %s: %w", role, err)
	}
	return nil
}

func renew(dir string, role Role, validity time.Duration, now time.Time) error {
	if err := role.validate(); err != nil {
		return err
	}
	if validity < 0 {
		return fmt.Errorf("validity %s is negative", validity)
	}
	ca, err := readAuthority(dir)
	if err != nil {
		return err
	}
	if now.After(ca.cert.NotAfter) {
		return expired(ca.cert)
	}
	path := filepath.Join(dir, string(role)+".crt")
	old, err := readPair(path, filepath.Join(dir, string(role)+".key"))
	if err != nil {
		return err
	}
	sans := append([]string{}, old.Leaf.DNSNames...)
	for _, ip := range old.Leaf.IPAddresses {
		sans = append(sans, ip.String())
	}
	leaf, err := ca.issue(role, now, min(validity, ca.cert.NotAfter.Sub(now)), sans)
	if err != nil {
		return err
	}
	files, err := leaf.files(string(role))
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for _, f := range append([]file{{string(role) + ".crt.old", 0o644, data}}, files...) {
		if err := f.replace(dir); err != nil {
			return err
		}
	}
	return nil
}

// replace puts the file in the place of one of its name, as a whole or not at all.
func (f file) replace(dir string) error {
	staged := file{"." + f.name + ".new", f.mode, f.data}
	path := filepath.Join(dir, staged.name)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := staged.write(dir); err != nil {
		return err
	}
	if err := os.Rename(path, filepath.Join(dir, f.name)); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
