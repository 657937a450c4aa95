// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// ticketCache is how many peers a dialling end remembers for cheaper handshakes.
const ticketCache = 16

// Files are what one end of a link is told about itself and its peer.
type Files struct {
	// CA is the path of the certificates of the authorities that may have signed the peer's.
	CA string
	// Cert and Key are the paths of this end's certificate and its private key.
	Cert, Key string
	// CRL is the path of lists of revoked certificates, each signed by an authority in CA. Empty is none.
	CRL string
	// Pins are the only certificates that the peer may show: the SHA-256 of each, in hexadecimal. Empty is any that
	// an authority in CA has signed.
	Pins []string
}

// In returns the files of one end where Init makes them.
func In(dir string, role Role) Files {
	name := filepath.Join(dir, string(role))
	return Files{CA: filepath.Join(dir, CACert), Cert: name + ".crt", Key: name + ".key"}
}

// LoadTLS returns the TLS configuration of one end: for RoleDPU that of a client
// which takes nobody but a HOST, for RoleHost that of a server which takes nobody
// but a DPU. TLS 1.3 only, both ends with certificates of the authority in files.CA.
// The files are read again when they have changed, at the next handshake; while
// what is there can't be used, what was there before is.
//
// Errors name the file and what is wrong with it: missing, unreadable, no
// certificate, expired, of the other role, not of this authority, not of this
// key, a list of revoked certificates of another authority. What is revoked or not
// pinned is so at the next handshake: a connection that is up stays.
func LoadTLS(role Role, files Files) (*tls.Config, error) {
	if err := role.validate(); err != nil {
		return nil, err
	}
	pins, err := parsePins(files.Pins)
	if err != nil {
		return nil, err
	}
	src := &source{role: role, files: files, pins: pins}
	if err := src.load(); err != nil {
		return nil, err
	}
	if role == RoleDPU {
		return src.client(), nil
	}
	return src.server(), nil
}

// source are the files of one end. It is safe for concurrent use.
type source struct {
	role  Role
	files Files
	pins  pins

	mu     sync.Mutex
	stamps [4]stamp
	now    identity
	config *tls.Config // the server's, of now
}

// identity is what the files say.
type identity struct {
	cert    tls.Certificate
	pool    *x509.CertPool
	revoked Revoked
}

// stamp tells whether a file has changed.
type stamp struct {
	modified time.Time
	size     int64
	inode    uint64
}

// current returns what the files say, or said when they last could be used.
func (s *source) current() identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	return s.now
}

func (s *source) refresh() {
	if stamps, err := s.look(); err == nil && stamps != s.stamps {
		// Files that are being replaced may not fit together yet. They are looked at
		// again at the next handshake, since their stamps are not kept.
		_ = s.loadLocked(stamps)
	}
}

func (s *source) load() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	stamps, err := s.look()
	if err != nil {
		return err
	}
	return s.loadLocked(stamps)
}

func (s *source) loadLocked(stamps [4]stamp) error {
	id, err := read(s.role, s.files, time.Now())
	if err != nil {
		return err
	}
	s.now, s.stamps, s.config = id, stamps, nil
	return nil
}

func (s *source) look() (stamps [4]stamp, err error) {
	for i, f := range []struct{ what, path string }{
		{"authority's certificate", s.files.CA}, {"certificate", s.files.Cert}, {"key", s.files.Key}, {"", s.files.CRL},
	} {
		if f.path == "" && f.what == "" {
			continue
		}
		if f.path == "" {
			return stamps, fmt.Errorf("no file given for the %s", f.what)
		}
		fi, err := os.Stat(f.path)
		if err != nil {
			return stamps, err
		}
		stamps[i] = stamp{fi.ModTime(), fi.Size(), inode(fi)}
	}
	return stamps, nil
}

// read reads and checks an end's files.
func read(role Role, files Files, now time.Time) (identity, error) {
	authorities, err := readCA(files.CA, now)
	if err != nil {
		return identity{}, err
	}
	id := identity{pool: x509.NewCertPool()}
	for _, ca := range authorities {
		id.pool.AddCert(ca)
	}
	if id.cert, err = readPair(files.Cert, files.Key); err != nil {
		return identity{}, err
	}
	if files.CRL != "" {
		if id.revoked, err = ReadRevoked(files.CRL, authorities); err != nil {
			return identity{}, err
		}
	}
	err = checkOwn(role, id.cert.Leaf, id.pool, now)
	if err == nil {
		err = id.revoked.check(id.cert.Leaf)
	}
	if err != nil {
		return identity{}, fmt.Errorf("%s: %w", files.Cert, err)
	}
	return id, nil
}

// ReadCertificates returns all certificates in a PEM file; there must be one.
func ReadCertificates(path string) ([]*x509.Certificate, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var found []*x509.Certificate
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != pemCertificate {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		found = append(found, c)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: there is no certificate in it", path)
	}
	return found, nil
}

// readCA returns the authorities in a file that have not expired; there must be one.
func readCA(path string, now time.Time) ([]*x509.Certificate, error) {
	all, err := ReadCertificates(path)
	if err != nil {
		return nil, err
	}
	var usable []*x509.Certificate
	for _, c := range all {
		switch {
		case !c.IsCA:
			return nil, fmt.Errorf("%s: certificate %q is not an authority's", path, c.Subject.CommonName)
		case now.After(c.NotAfter):
			// Another one in the file may be good.
			err = expired(c)
		default:
			usable = append(usable, c)
		}
	}
	if len(usable) == 0 {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return usable, nil
}

func readPair(cert, key string) (tls.Certificate, error) {
	certPEM, err := os.ReadFile(cert)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPEM, err := os.ReadFile(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	if block, _ := pem.Decode(certPEM); block == nil {
		return tls.Certificate{}, fmt.Errorf("%s: there is no certificate in it", cert)
	}
	if block, _ := pem.Decode(keyPEM); block == nil {
		return tls.Certificate{}, fmt.Errorf("%s: there is no key in it", key)
	}
	own, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return own, fmt.Errorf("certificate %s with key %s: %w", cert, key, err)
	}
	if own.Leaf == nil {
		own.Leaf, err = x509.ParseCertificate(own.Certificate[0])
	}
	return own, err
}

// checkOwn finds out here what the peer would find wrong with a certificate.
func checkOwn(role Role, leaf *x509.Certificate, pool *x509.CertPool, now time.Time) error {
	if now.After(leaf.NotAfter) {
		return expired(leaf)
	}
	if now.Before(leaf.NotBefore) {
		return fmt.Errorf("certificate is not valid before %s", date(leaf.NotBefore))
	}
	if err := role.check(leaf); err != nil {
		return err
	}
	return verify(leaf, nil, pool, role, now)
}

// verify checks that a certificate is of an authority in pool and of a role.
func verify(leaf *x509.Certificate, rest []*x509.Certificate, pool *x509.CertPool, role Role, now time.Time) error {
	between := x509.NewCertPool()
	for _, c := range rest {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: pool, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{role.usage()},
	})
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return role.check(leaf)
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return &CertificateError{fmt.Errorf("certificate %q is of another authority: %w", leaf.Subject.CommonName, err)}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return &CertificateError{expired(leaf)}
	default:
		return &CertificateError{err}
	}
}

func expired(c *x509.Certificate) error {
	return fmt.Errorf("certificate %q expired on %s", c.Subject.CommonName, date(c.NotAfter))
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// CertificateError says what is wrong with a peer's certificate.
type CertificateError struct{ Err error }

func (e *CertificateError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *CertificateError) Unwrap() error { return e.Err }

// client returns the dialling end's configuration.
func (s *source) client() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ClientSessionCache: tickets{s, tls.NewLRUClientSessionCache(ticketCache)},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			id := s.current()
			return &id.cert, nil
		},
		// Names are not checked, roles are: VerifyConnection does all of it, for
		// resumed TLS sessions too.
		InsecureSkipVerify:          true,
		VerifyConnection:            s.verifyPeer,
		DynamicRecordSizingDisabled: true,
	}
}

// tickets keeps what resumes TLS sessions by the certificate with which they began: a resumed one counts as of that
// certificate, and it may be revoked since it was replaced.
type tickets struct {
	source *source
	cache  tls.ClientSessionCache
}

func (t tickets) Get(peer string) (*tls.ClientSessionState, bool) { return t.cache.Get(t.key(peer)) }

func (t tickets) Put(peer string, state *tls.ClientSessionState) { t.cache.Put(t.key(peer), state) }

func (t tickets) key(peer string) string {
	return t.source.current().cert.Leaf.SerialNumber.String() + " " + peer
}

// server returns the accepting end's configuration.
func (s *source) server() *tls.Config {
	return &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		DynamicRecordSizingDisabled: true,
		// Each connection gets the configuration of the files as they are then. This
		// one keeps the keys of session tickets.
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.refresh()
			if s.config == nil {
				s.config = s.serverNow()
			}
			return s.config, nil
		},
	}
}

func (s *source) serverNow() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{s.now.cert},
		// The TLS package checks the chain, since it knows the alerts by which the
		// peer learns what is wrong; the role is checked here.
		ClientAuth:                  tls.RequireAndVerifyClientCert,
		ClientCAs:                   s.now.pool,
		VerifyConnection:            s.verifyPeer,
		DynamicRecordSizingDisabled: true,
	}
}

func (s *source) verifyPeer(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return &CertificateError{errors.New("peer has no certificate")}
	}
	leaf, id := cs.PeerCertificates[0], s.current()
	err := verify(leaf, cs.PeerCertificates[1:], id.pool, s.role.Peer(), time.Now())
	if err == nil {
		err = cmp.Or(id.revoked.check(leaf), s.pins.check(leaf))
	}
	if err != nil && !errors.As(err, new(*CertificateError)) {
		err = &CertificateError{err}
	}
	return err
}

func inode(fi os.FileInfo) uint64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
