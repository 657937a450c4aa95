// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/udsbridge/pki"
)

func initDir(t *testing.T, o pki.Options) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a", "pki")
	require.NoError(t, pki.Init(dir, o))
	return dir
}

func certificate(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	block, rest := pem.Decode(b)
	require.NotNil(t, block)
	require.Empty(t, rest)
	c, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return c
}

func TestInit(t *testing.T) {
	dir := initDir(t, pki.Options{ExtraSANs: []string{"10.1.2.3", "host.example"}})
	modes := map[string]os.FileMode{
		"ca.crt": 0o644, "ca.key": 0o600, "host.crt": 0o644, "host.key": 0o600, "dpu.crt": 0o644, "dpu.key": 0o600,
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, len(modes))
	for name, mode := range modes {
		fi, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, mode, fi.Mode().Perm(), name)
	}
	ca, host, dpu := certificate(t, dir, "ca.crt"), certificate(t, dir, "host.crt"), certificate(t, dir, "dpu.crt")
	require.True(t, ca.IsCA && ca.MaxPathLenZero)
	require.NoError(t, host.CheckSignatureFrom(ca))
	require.NoError(t, dpu.CheckSignatureFrom(ca))
	require.Equal(t, "offload://host", host.URIs[0].String())
	require.Equal(t, "offload://dpu", dpu.URIs[0].String())
	require.Equal(t, []string{"host.example"}, host.DNSNames)
	require.True(t, host.IPAddresses[0].Equal(net.IPv4(10, 1, 2, 3)))
	require.Empty(t, dpu.DNSNames)
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, host.ExtKeyUsage)
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, dpu.ExtKeyUsage)
	require.WithinDuration(t, time.Now().Add(pki.DefaultValidity), host.NotAfter, time.Minute)
	require.WithinDuration(t, time.Now().Add(pki.DefaultCAValidity), ca.NotAfter, time.Minute)
}

func TestInitRefuses(t *testing.T) {
	t.Run("to overwrite", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "dpu.key"), []byte("precious"), 0o600))
		err := pki.Init(dir, pki.Options{})
		require.ErrorIs(t, err, fs.ErrExist)
		require.ErrorContains(t, err, "dpu.key")
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 1, "it left something behind")
	})
	t.Run("a negative validity", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "x")
		require.ErrorContains(t, pki.Init(dir, pki.Options{Validity: -1}), "negative")
		require.NoDirExists(t, dir)
	})
	t.Run("a file as directory", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "x")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		require.ErrorContains(t, pki.Init(file, pki.Options{}), "make certificates")
	})
}

func TestLoadTLS(t *testing.T) {
	dir, foreign := initDir(t, pki.Options{}), initDir(t, pki.Options{})
	expired := initDir(t, pki.Options{Validity: time.Nanosecond, CAValidity: time.Hour})
	dead := initDir(t, pki.Options{Validity: time.Nanosecond, CAValidity: time.Nanosecond})
	junk := filepath.Join(t.TempDir(), "junk")
	require.NoError(t, os.WriteFile(junk, []byte("nothing\n"), 0o600))
	good := pki.In(dir, pki.RoleHost)
	for _, c := range []struct {
		name  string
		role  pki.Role
		files pki.Files
		err   string
	}{
		{"HOST", pki.RoleHost, good, ""},
		{"DPU", pki.RoleDPU, pki.In(dir, pki.RoleDPU), ""},
		{"no such role", "both", good, `role "both"`},
		{"of the other role", pki.RoleDPU, good, `host.crt: certificate "offload host" is of role [offload://host]; want offload://dpu`},
		{"of another authority", pki.RoleHost, pki.Files{CA: filepath.Join(foreign, "ca.crt"), Cert: good.Cert, Key: good.Key}, "host.crt: certificate \"offload host\" is of another authority"},
		{"of another key", pki.RoleHost, pki.Files{CA: good.CA, Cert: good.Cert, Key: filepath.Join(dir, "dpu.key")}, "private key does not match"},
		{"expired", pki.RoleHost, pki.In(expired, pki.RoleHost), `host.crt: certificate "offload host" expired on`},
		{"authority expired", pki.RoleHost, pki.In(dead, pki.RoleHost), `ca.crt: certificate "offload authority" expired on`},
		{"an authority's as own", pki.RoleHost, pki.Files{CA: good.CA, Cert: good.CA, Key: filepath.Join(dir, "ca.key")}, "has no role"},
		{"own as an authority's", pki.RoleHost, pki.Files{CA: good.Cert, Cert: good.Cert, Key: good.Key}, "is not an authority's"},
		{"no authority", pki.RoleHost, pki.Files{CA: "", Cert: good.Cert, Key: good.Key}, "no file given for the authority's certificate"},
		{"no key given", pki.RoleHost, pki.Files{CA: good.CA, Cert: good.Cert, Key: ""}, "no file given for the key"},
		{"missing", pki.RoleHost, pki.Files{CA: good.CA, Cert: good.Cert, Key: good.Key + "x"}, "no such file"},
		{"junk authority", pki.RoleHost, pki.Files{CA: junk, Cert: good.Cert, Key: good.Key}, "junk: there is no certificate in it"},
		{"junk certificate", pki.RoleHost, pki.Files{CA: good.CA, Cert: junk, Key: good.Key}, "junk: there is no certificate in it"},
		{"junk key", pki.RoleHost, pki.Files{CA: good.CA, Cert: good.Cert, Key: junk}, "junk: there is no key in it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, err := pki.LoadTLS(c.role, c.files)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				require.Nil(t, config)
				return
			}
			require.NoError(t, err)
			require.EqualValues(t, tls.VersionTLS13, config.MinVersion)
		})
	}
}

// handshake has both ends meet and returns the errors of both.
func handshake(t *testing.T, l net.Listener, client, server *tls.Config) (resumed bool, clientErr, serverErr error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		s := tls.Server(c, server)
		if err := s.Handshake(); err != nil {
			done <- err
			return
		}
		_, err = s.Write([]byte("x"))
		done <- errors.Join(err, s.Close())
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	conn := tls.Client(c, client)
	if clientErr = conn.Handshake(); clientErr == nil {
		_, clientErr = conn.Read(make([]byte, 1))
	}
	c.Close()
	return conn.ConnectionState().DidResume, clientErr, <-done
}

func load(t *testing.T, role pki.Role, dir string) *tls.Config {
	t.Helper()
	c, err := pki.LoadTLS(role, pki.In(dir, role))
	require.NoError(t, err)
	return c
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// TestResumption makes sure that a resumed handshake is checked as a full one is.
func TestResumption(t *testing.T) {
	dir := initDir(t, pki.Options{})
	client, server := load(t, pki.RoleDPU, dir), load(t, pki.RoleHost, dir)
	l := listen(t)
	for i := range 3 {
		resumed, cerr, serr := handshake(t, l, client, server)
		require.NoError(t, errors.Join(cerr, serr))
		require.Equal(t, i > 0, resumed)
	}
	// The HOST now trusts another authority: the same client is out.
	next := initDir(t, pki.Options{})
	for _, name := range []string{"host.key", "host.crt", "ca.crt"} {
		b, err := os.ReadFile(filepath.Join(next, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	_, cerr, serr := handshake(t, l, client, server)
	require.Error(t, cerr)
	require.Error(t, serr)
}

// TestWrongEnds has two ends of the same role meet.
func TestWrongEnds(t *testing.T) {
	dir := initDir(t, pki.Options{})
	dpu := load(t, pki.RoleDPU, dir)
	asServer := dpu.Clone()
	p := pki.In(dir, pki.RoleDPU)
	own, err := tls.LoadX509KeyPair(p.Cert, p.Key)
	require.NoError(t, err)
	asServer.Certificates = []tls.Certificate{own}
	_, cerr, _ := handshake(t, listen(t), dpu, asServer)
	require.Error(t, cerr)
	require.ErrorAs(t, cerr, new(*pki.CertificateError))
}
