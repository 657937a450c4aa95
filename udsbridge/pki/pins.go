// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
)

// pins are the only certificates that a peer may show. None is any.
type pins [][sha256.Size]byte

// ParsePin reads the SHA-256 of a certificate, 64 hexadecimal digits.
func ParsePin(pin string) (sum [sha256.Size]byte, err error) {
	b, err := hex.DecodeString(pin)
	if err != nil || len(b) != len(sum) {
		return sum, fmt.Errorf("%q is not the SHA-256 of a certificate: %d hexadecimal digits", pin, 2*len(sum))
	}
	return [sha256.Size]byte(b), nil
}

func parsePins(list []string) (pins, error) {
	var all pins
	for _, pin := range list {
		sum, err := ParsePin(pin)
		if err != nil {
			return nil, err
		}
		all = append(all, sum)
	}
	return all, nil
}

// check fails for a certificate that is not among the pins.
func (p pins) check(c *x509.Certificate) error {
	sum := sha256.Sum256(c.Raw)
	if len(p) == 0 || slices.Contains(p, sum) {
		return nil
	}
	return fmt.Errorf("certificate %q is not pinned: its SHA-256 is %x", c.Subject.CommonName, sum)
}
