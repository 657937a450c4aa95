// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/pki"
)

// authority makes certificates in a directory of its own.
func authority(t *testing.T, o pki.Options) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, pki.Init(dir, o))
	return dir
}

// forge returns a configuration with a certificate that LoadTLS would refuse.
func forge(t *testing.T, dir, name string) *tls.Config {
	t.Helper()
	c, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
	require.NoError(t, err)
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{c},
		InsecureSkipVerify: true,
		ClientAuth:         tls.RequireAnyClientCert,
	}
}

// steal returns a configuration with a certificate that is then renewed and revoked.
func steal(t *testing.T, dir string, role pki.Role) *tls.Config {
	t.Helper()
	stolen := forge(t, dir, string(role))
	require.NoError(t, pki.Renew(dir, role, 0))
	old, err := x509.ParseCertificate(stolen.Certificates[0].Certificate[0])
	require.NoError(t, err)
	require.NoError(t, pki.Revoke(dir, old))
	return stolen
}

// strict is the configuration of an end that reads the list of revoked certificates.
func strict(t *testing.T, dir string, role pki.Role) *tls.Config {
	t.Helper()
	files := pki.In(dir, role)
	files.CRL = filepath.Join(dir, pki.CRL)
	c, err := pki.LoadTLS(role, files)
	require.NoError(t, err)
	return c
}

// TestCertificates has one side show a certificate that is not good. The DPU must
// learn that from Dial or the first Read, and the HOST must not go on.
func TestCertificates(t *testing.T) {
	good := authority(t, pki.Options{})
	foreign := authority(t, pki.Options{})
	// An authority that goes on to be good while what it has issued expires.
	expired := authority(t, pki.Options{Validity: time.Nanosecond, CAValidity: time.Hour})
	ofExpired := func(role pki.Role) *tls.Config { // trusts that authority
		mixed := t.TempDir()
		other := authority(t, pki.Options{})
		bundle := append(read(t, filepath.Join(expired, pki.CACert)), read(t, filepath.Join(other, pki.CACert))...)
		require.NoError(t, os.WriteFile(filepath.Join(mixed, pki.CACert), bundle, 0o600))
		for _, end := range []string{".crt", ".key"} {
			require.NoError(t, os.WriteFile(filepath.Join(mixed, string(role)+end), read(t, filepath.Join(other, string(role)+end)), 0o600))
		}
		return loadTLS(t, role, mixed)
	}
	none := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}
	old := forge(t, good, "dpu")
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	taken := authority(t, pki.Options{})
	stolenHost, stolenDPU := steal(t, taken, pki.RoleHost), steal(t, taken, pki.RoleDPU)
	pinned := pki.In(good, pki.RoleDPU)
	pinned.Pins = []string{strings.Repeat("00", 32)}
	onePin, err := pki.LoadTLS(pki.RoleDPU, pinned)
	require.NoError(t, err)
	for _, c := range []struct {
		name      string
		host, dpu *tls.Config
		dpuErr    string
		hostErr   string
	}{
		{"HOST of another authority", loadTLS(t, pki.RoleHost, foreign), loadTLS(t, pki.RoleDPU, good),
			"its certificate is not good: certificate \"offload host\" is of another authority", "bad certificate"},
		{"HOST with a DPU's certificate", forge(t, good, "dpu"), loadTLS(t, pki.RoleDPU, good), "its certificate is not good", "bad certificate"},
		{"HOST's certificate has expired", forge(t, expired, "host"), ofExpired(pki.RoleDPU), `its certificate is not good: certificate "offload host" expired on`, "bad certificate"},
		{"HOST's certificate is revoked", stolenHost, strict(t, taken, pki.RoleDPU), `its certificate is not good: certificate "offload host" is revoked since`, "bad certificate"},
		{"HOST's certificate is not pinned", loadTLS(t, pki.RoleHost, good), onePin, `its certificate is not good: certificate "offload host" is not pinned`, "bad certificate"},
		{"DPU's certificate is revoked", strict(t, taken, pki.RoleHost), stolenDPU, "does not accept this side's certificate or TLS", "revoked"},
		{"DPU of another authority", loadTLS(t, pki.RoleHost, good), forge(t, foreign, "dpu"), "does not accept this side's certificate or TLS", "unknown authority"},
		{"DPU with a HOST's certificate", loadTLS(t, pki.RoleHost, good), forge(t, good, "host"), "does not accept this side's certificate or TLS", "incompatible key usage"},
		{"DPU's certificate has expired", ofExpired(pki.RoleHost), forge(t, expired, "dpu"), "does not accept this side's certificate or TLS", "expired"},
		{"DPU without a certificate", loadTLS(t, pki.RoleHost, good), none, "does not accept this side's certificate or TLS", "didn't provide a certificate"},
		{"DPU with TLS 1.2", loadTLS(t, pki.RoleHost, good), old, "does not accept this side's certificate or TLS", "version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := listen(t, "tcp://127.0.0.1:0", link.Security{TLS: c.host})
			refused := make(chan error, 1)
			serve(t, l, func(in *link.Incoming) {
				_, err := in.Handshake(t.Context())
				refused <- err
			})
			conn, err := (&link.Dialer{Address: l.Addr(), Security: link.Security{TLS: c.dpu}}).Dial(t.Context(), podTarget)
			if err == nil {
				defer conn.Close()
				require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
				_, err = conn.Read(make([]byte, 1))
			}
			require.ErrorContains(t, err, c.dpuErr)
			require.ErrorContains(t, <-refused, c.hostErr)
		})
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

// TestRotation replaces the files of both ends, the authority's included, while a
// listener and a dialer use them.
func TestRotation(t *testing.T) {
	dir := authority(t, pki.Options{})
	host, dpu := link.Security{TLS: loadTLS(t, pki.RoleHost, dir)}, link.Security{TLS: loadTLS(t, pki.RoleDPU, dir)}
	l := listen(t, "tcp://127.0.0.1:0", host)
	seen := make(chan *x509.Certificate, 1)
	serve(t, l, func(in *link.Incoming) {
		conn, err := in.Handshake(t.Context())
		if err != nil {
			seen <- nil
			return
		}
		_, _ = conn.Write(nil) // the verdict, after which the connection below shows
		tc := conn.(interface{ Direct() net.Conn }).Direct().(interface{ ConnectionState() tls.ConnectionState })
		seen <- tc.ConnectionState().PeerCertificates[0]
		_ = echo(conn)
	})
	d := &link.Dialer{Address: l.Addr(), Security: dpu}
	checkEcho(t, d)
	first := <-seen

	next := authority(t, pki.Options{})
	for _, name := range []string{pki.CACert, "host.crt", "dpu.crt", "host.key", "dpu.key"} {
		staged := filepath.Join(dir, name+".new")
		require.NoError(t, os.WriteFile(staged, read(t, filepath.Join(next, name)), 0o600))
		require.NoError(t, os.Rename(staged, filepath.Join(dir, name)))
		if strings.HasSuffix(name, ".crt") {
			// What does not fit together is not used: what was there before is.
			checkEcho(t, d)
			require.Equal(t, first.SerialNumber, (<-seen).SerialNumber, "after %s", name)
		}
	}
	checkEcho(t, d)
	require.NotEqual(t, first.SerialNumber, (<-seen).SerialNumber)

	// Who has only the old ones is out.
	old := authority(t, pki.Options{})
	conn, err := (&link.Dialer{Address: l.Addr(), Security: link.Security{TLS: forge(t, old, "dpu")}}).Dial(t.Context(), podTarget)
	if err == nil {
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
	}
	require.ErrorContains(t, err, "does not accept")
	require.Nil(t, <-seen)
}
