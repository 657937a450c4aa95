// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"io/fs"
	"os"
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
}

// Enabled tells whether the files are given.
func (t TLS) Enabled() bool { return t.CA != "" || t.Cert != "" || t.Key != "" }

// files returns the keys and their values.
func (t TLS) files() [3]struct{ key, path string } {
	return [3]struct{ key, path string }{
		{"link.tls.ca", t.CA}, {"link.tls.cert", t.Cert}, {"link.tls.key", t.Key},
	}
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
