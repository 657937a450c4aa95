// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/udsbridge/pki"
)

// touch makes sure that a file that was written just now is seen as another one.
func touch(t *testing.T, path string, n int) {
	t.Helper()
	at := time.Now().Add(time.Duration(n) * time.Second)
	require.NoError(t, os.Chtimes(path, at, at))
}

// TestRevoked revokes the certificate of each end while both go on, in full and in resumed handshakes, and has the
// renewed one taken.
func TestRevoked(t *testing.T) {
	for _, c := range []struct {
		revoked     pki.Role
		dpuErr, err string
	}{
		{pki.RoleHost, `certificate "offload host" is revoked since`, "bad certificate"},
		{pki.RoleDPU, "bad certificate", `certificate "offload dpu" is revoked since`},
	} {
		t.Run(string(c.revoked), func(t *testing.T) {
			dir := initDir(t, pki.Options{ExtraSANs: []string{"10.1.2.3", "host.example"}})
			// Another machine's certificate is on the list from the beginning.
			require.NoError(t, pki.Renew(dir, c.revoked, time.Hour))
			require.NoError(t, pki.Revoke(dir, certificate(t, dir, string(c.revoked)+".crt.old")))
			crl := filepath.Join(dir, pki.CRL)
			files := func(role pki.Role) pki.Files {
				f := pki.In(dir, role)
				f.CRL = crl
				return f
			}
			client, err := pki.LoadTLS(pki.RoleDPU, files(pki.RoleDPU))
			require.NoError(t, err)
			server, err := pki.LoadTLS(pki.RoleHost, files(pki.RoleHost))
			require.NoError(t, err)
			l := listen(t)
			for i := range 2 {
				resumed, cerr, serr := handshake(t, l, client, server)
				require.NoError(t, errors.Join(cerr, serr))
				require.Equal(t, i == 1, resumed)
			}

			// The end whose certificate is revoked does not read the list, as a thief would not.
			thief := load(t, c.revoked, dir)
			if c.revoked == pki.RoleHost {
				server = thief
			} else {
				thief.ClientSessionCache = client.ClientSessionCache // has what it needs for resumption
				client = thief
			}
			require.NoError(t, pki.Revoke(dir, certificate(t, dir, string(c.revoked)+".crt")))
			touch(t, crl, 1)
			_, cerr, serr := handshake(t, l, client, server)
			require.ErrorContains(t, cerr, c.dpuErr)
			require.ErrorContains(t, serr, c.err)

			require.NoError(t, pki.Renew(dir, c.revoked, 0))
			touch(t, filepath.Join(dir, string(c.revoked)+".crt"), 2)
			_, cerr, serr = handshake(t, l, client, server)
			require.NoError(t, errors.Join(cerr, serr))
			host := certificate(t, dir, "host.crt")
			require.Equal(t, []string{"host.example"}, host.DNSNames)
			require.Len(t, host.IPAddresses, 1)
		})
	}
}

func TestRevokedOwn(t *testing.T) {
	dir, foreign := initDir(t, pki.Options{}), initDir(t, pki.Options{})
	files := pki.In(dir, pki.RoleHost)
	files.CRL = filepath.Join(dir, pki.CRL)
	_, err := pki.LoadTLS(pki.RoleHost, files)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, pki.Revoke(dir, certificate(t, foreign, "host.crt")), `certificate "offload host" is of another authority`)
	require.NoFileExists(t, files.CRL)
	require.NoError(t, pki.Revoke(dir, certificate(t, dir, "host.crt")))
	require.NoError(t, pki.Revoke(dir, certificate(t, dir, "host.crt")), "once more")
	_, err = pki.LoadTLS(pki.RoleHost, files)
	require.ErrorContains(t, err, `host.crt: certificate "offload host" is revoked since`)

	require.NoError(t, pki.Revoke(foreign, certificate(t, foreign, "host.crt")))
	files.CRL = filepath.Join(foreign, pki.CRL)
	_, err = pki.LoadTLS(pki.RoleHost, files)
	require.ErrorContains(t, err, `list of "offload authority" is signed by none of the authorities`)
	files.CRL = files.Cert
	_, err = pki.LoadTLS(pki.RoleHost, files)
	require.ErrorContains(t, err, "there is no list of revoked certificates in it")
}

// TestBrokenList has a list that becomes unusable: what was revoked stays so.
func TestBrokenList(t *testing.T) {
	dir := initDir(t, pki.Options{})
	require.NoError(t, pki.Renew(dir, pki.RoleDPU, 0))
	require.NoError(t, pki.Revoke(dir, certificate(t, dir, "dpu.crt")))
	files := pki.In(dir, pki.RoleHost)
	files.CRL = filepath.Join(dir, pki.CRL)
	server, err := pki.LoadTLS(pki.RoleHost, files)
	require.NoError(t, err)
	client, l := load(t, pki.RoleDPU, dir), listen(t)
	for _, spoil := range []func() error{
		func() error { return os.WriteFile(files.CRL, []byte("nothing\n"), 0o600) },
		func() error { return os.Remove(files.CRL) },
	} {
		require.NoError(t, spoil())
		_, _, serr := handshake(t, l, client, server)
		require.ErrorContains(t, serr, "is revoked since")
	}
}

func TestPins(t *testing.T) {
	dir := initDir(t, pki.Options{})
	pin := func() string {
		sum := sha256.Sum256(certificate(t, dir, "host.crt").Raw)
		return hex.EncodeToString(sum[:])
	}
	pinned := pki.In(dir, pki.RoleDPU)
	pinned.Pins = []string{pin()}
	client, err := pki.LoadTLS(pki.RoleDPU, pinned)
	require.NoError(t, err)
	server, l := load(t, pki.RoleHost, dir), listen(t)
	_, cerr, serr := handshake(t, l, client, server)
	require.NoError(t, errors.Join(cerr, serr))

	require.NoError(t, pki.Renew(dir, pki.RoleHost, 0))
	touch(t, filepath.Join(dir, "host.crt"), 1)
	client.ClientSessionCache = nil // a resumed handshake is of the certificate that was pinned
	_, cerr, serr = handshake(t, l, client, server)
	require.ErrorContains(t, cerr, `certificate "offload host" is not pinned: its SHA-256 is `+pin())
	require.ErrorContains(t, serr, "bad certificate")

	for _, bad := range []string{"", "12", pin()[1:], pin() + "00", "sha256:" + pin()} {
		pinned.Pins = []string{bad}
		_, err := pki.LoadTLS(pki.RoleDPU, pinned)
		require.ErrorContains(t, err, "is not the SHA-256 of a certificate: 64 hexadecimal digits")
	}
}

func TestRenewRefuses(t *testing.T) {
	dir := initDir(t, pki.Options{})
	require.ErrorContains(t, pki.Renew(dir, "both", 0), `role "both"`)
	require.ErrorContains(t, pki.Renew(dir, pki.RoleDPU, -1), "negative")
	require.NoError(t, os.Remove(filepath.Join(dir, "ca.key")))
	require.ErrorIs(t, pki.Renew(dir, pki.RoleDPU, 0), os.ErrNotExist)
	require.NoFileExists(t, filepath.Join(dir, "dpu.crt.old"))
	dead := initDir(t, pki.Options{Validity: time.Nanosecond, CAValidity: time.Nanosecond})
	require.ErrorContains(t, pki.Renew(dead, pki.RoleDPU, 0), `certificate "offload authority" expired on`)
}
