// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Names of the files that Init makes. The files of a role are ROLE.crt and ROLE.key.
const (
	CACert = "ca.crt"
	CAKey  = "ca.key"
)

// Validity of certificates by default.
const (
	DefaultValidity   = 3 * 365 * 24 * time.Hour
	DefaultCAValidity = 10 * 365 * 24 * time.Hour
)

// clockSkew is how far the other end's clock may be behind.
const clockSkew = time.Hour

// PEM block types.
const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY"
)

// Options say how Init makes certificates. Zero values mean the defaults.
type Options struct {
	// Validity is how long both ends' certificates are good.
	Validity time.Duration
	// CAValidity is how long the authority is good, and never less than Validity.
	CAValidity time.Duration
	// ExtraSANs are DNS names and IP addresses to put into the HOST's certificate,
	// for the sake of other programs: a link checks roles, not names.
	ExtraSANs []string
}

// Init makes an authority and one certificate for each end in dir, which it makes
// if need be: ca.crt, ca.key, host.crt, host.key, dpu.crt and dpu.key, the keys
// readable by their owner only. It refuses to overwrite any of them with an error
// that wraps fs.ErrExist, and leaves nothing behind if it fails.
func Init(dir string, opts Options) (err error) {
	opts.Validity = cmp.Or(opts.Validity, DefaultValidity)
	opts.CAValidity = max(cmp.Or(opts.CAValidity, DefaultCAValidity), opts.Validity)
	if opts.Validity < 0 {
		return fmt.Errorf("make certificates: validity %s is negative", opts.Validity)
	}
	files, err := generate(opts, time.Now())
	if err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	for _, f := range files {
		_, err := os.Lstat(filepath.Join(dir, f.name))
		if err == nil {
			return fmt.Errorf("make certificates: %s: %w", filepath.Join(dir, f.name), fs.ErrExist)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make certificates: %w", err)
		}
	}
	for i, f := range files {
		if err := f.write(dir); err != nil {
			for _, made := range files[:i] {
				err = errors.Join(err, os.Remove(filepath.Join(dir, made.name)))
			}
			return fmt.Errorf("make certificates: %w", err)
		}
	}
	return nil
}

// file is one that Init makes.
type file struct {
	name string
	mode os.FileMode
	data []byte
}

// write makes the file, or leaves nothing.
func (f file) write(dir string) error {
	path := filepath.Join(dir, f.name)
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
	if err != nil {
		return err
	}
	_, err = w.Write(f.data)
	if err == nil {
		err = w.Sync()
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// generate returns all the files there are.
func generate(opts Options, now time.Time) ([]file, error) {
	ca, err := newCA(now, opts.CAValidity)
	if err != nil {
		return nil, err
	}
	files, err := ca.files("ca")
	if err != nil {
		return nil, err
	}
	for _, role := range []Role{RoleHost, RoleDPU} {
		var sans []string
		if role == RoleHost {
			sans = opts.ExtraSANs
		}
		leaf, err := ca.issue(role, now, opts.Validity, sans)
		if err != nil {
			return nil, err
		}
		made, err := leaf.files(string(role))
		if err != nil {
			return nil, err
		}
		files = append(files, made...)
	}
	return files, nil
}

// pair is a certificate and its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(now time.Time, validity time.Duration) (pair, error) {
	return newPair(&x509.Certificate{
		Subject:               pkix.Name{CommonName: "offload authority"},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(validity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}, nil)
}

// issue makes a certificate for one end.
func (p pair) issue(role Role, now time.Time, validity time.Duration, sans []string) (pair, error) {
	uri, err := url.Parse(role.URI())
	if err != nil {
		return pair{}, err
	}
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "offload " + string(role)},
		NotBefore:   now.Add(-clockSkew),
		NotAfter:    now.Add(validity),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{role.usage()},
		URIs:        []*url.URL{uri},
	}
	for _, san := range sans {
		if ip := net.ParseIP(san); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, san)
		}
	}
	return newPair(t, &p)
}

// newPair makes a key and has its certificate signed by ca, or by itself.
func newPair(t *x509.Certificate, ca *pair) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return pair{}, err
	}
	signer := &pair{t, key}
	if ca != nil {
		signer = ca
	}
	der, err := x509.CreateCertificate(rand.Reader, t, signer.cert, key.Public(), signer.key)
	if err != nil {
		return pair{}, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return pair{}, err
	}
	return pair{cert, key}, nil
}

// files returns the pair as NAME.crt and NAME.key.
func (p pair) files(name string) ([]file, error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, err
	}
	return []file{
		{name + ".crt", 0o644, pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: p.cert.Raw})},
		{name + ".key", 0o600, pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der})},
	}, nil
}
