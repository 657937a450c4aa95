// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/container-offload/offload/udsbridge/pki"
)

// TLS names the files by which the two ends of a link know each other. Either
// all are given or none is.
type TLS struct {
	// CA is the certificate that has signed the other end's.
	CA string `toml:"ca"`
	// Cert is this end's certificate.
	Cert string `toml:"cert"`
	// Key is the private key to it.
	Key string `toml:"key"`
	// CRL lists certificates that are revoked. Empty is none.
	CRL string `toml:"crl"`
	// Pins are the only certificates that the other end may show, each its SHA-256 in hexadecimal, with commas between.
	// Empty is any that CA has signed.
	Pins string `toml:"pins"`
}

// Enabled tells whether the files are given.
func (t TLS) Enabled() bool { return t.CA != "" || t.Cert != "" || t.Key != "" }

// files returns the keys and their values.
func (t TLS) files() [3]struct{ key, path string } {
	return [3]struct{ key, path string }{
		{"link.tls.ca", t.CA}, {"link.tls.cert", t.Cert}, {"link.tls.key", t.Key},
	}
}

// pins returns the single pins.
func (t TLS) pins() []string {
	var all []string
	for pin := range strings.SplitSeq(t.Pins, ",") {
		if pin = strings.TrimSpace(pin); pin != "" {
			all = append(all, pin)
		}
	}
	return all
}

// check reports files that are not given though others are, and relative paths.
func (t TLS) check(d *document) {
	if !t.Enabled() && !d.has("link.tls") {
		return
	}
	for _, f := range t.files() {
		if f.path == "" && !d.has(f.key) {
			d.report(f.key, "missing; [link.tls] needs ca, cert and key")
			continue
		}
		d.absolute(f.key, f.path)
	}
	if t.CRL != "" {
		d.absolute("link.tls.crl", t.CRL)
	}
	for _, pin := range t.pins() {
		if _, err := pki.ParsePin(pin); err != nil {
			d.report("link.tls.pins", "%v; \"offloadctl pki show -o json\" tells it", err)
		}
	}
}

// checkFiles has each file that is given looked at.
func (t TLS) checkFiles(d *document, check fileCheck) {
	if check == nil || len(d.problems) > 0 {
		return
	}
	for _, f := range t.files() {
		if f.path != "" {
			check(d, f.key, f.path)
		}
	}
	if t.CRL != "" {
		check(d, "link.tls.crl", t.CRL)
	}
}

// readable reports a file that can't be read.
func (d *document) readable(key, path string) {
	f, err := os.Open(path)
	if err == nil {
		var info fs.FileInfo
		if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
			err = errors.New("not a file")
		}
		f.Close()
	}
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		d.report(key, "%s does not exist; \"offloadctl pki init\" makes it", path)
	case errors.Is(err, fs.ErrPermission):
		d.report(key, "%s may not be read by this user", path)
	default:
		d.report(key, "%s can't be read: %v", path, err)
	}
}
