// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// TestGolden holds the bytes against those in docs/wire-session.md.
func TestGolden(t *testing.T) {
	pod := Target{Kind: KindShim, Namespace: "default", ID: "web", Create: true}
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"agent", preamble{target: Target{Kind: KindAgent}}.encode(), "OFFL\x00\x01\x00\x05agent"},
		{"shim with TLS", preamble{tls: true, target: pod}.encode(), "OFFL\x00\x01\x01\x17shim/default/web?create"},
		{"accepted", accepted, "OFFV\x00\x01\x00\x00"},
		{"refused", refusal(errors.New("full")), "OFFV\x00\x01\x00\x04full"},
		{"refused without a reason", refusal(nil), "OFFV\x00\x01\x00\x0fno reason given"},
	} {
		require.Equal(t, c.want, string(c.got), c.name)
	}
}

func TestAdmits(t *testing.T) {
	require.True(t, Security{}.admits(7))
	require.True(t, Security{PeerCID: 7}.admits(7))
	require.False(t, Security{PeerCID: 7}.admits(8))
	require.False(t, Security{PeerCID: 7}.admits(0))
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct{ in, out, err string }{
		{"tcp://10.0.0.1:7600", "tcp://10.0.0.1:7600", ""},
		{"tcp://[::1]:7600", "tcp://[::1]:7600", ""},
		{"tcp://:0", "tcp://:0", ""},
		{"vsock://3:7600", "vsock://3:7600", ""},
		{"vsock://:7600", "vsock://any:7600", ""},
		{"vsock://any:7600", "vsock://any:7600", ""},
		{"unix:///run/x/../host.sock", "unix:///run/host.sock", ""},
		{"10.0.0.1:7600", "", "no scheme"},
		{"udp://10.0.0.1:1", "", "unknown scheme"},
		{"tcp://10.0.0.1", "", "missing port"},
		{"tcp://10.0.0.1:65536", "", "port"},
		{"tcp://a b:1", "", "neither a name nor an IP address"},
		{"vsock://x:1", "", "context id"},
		{"vsock://4294967296:1", "", "context id"},
		{"unix://run/x", "", "not absolute"},
		{"unix:///", "", "root directory"},
		{"unix:///" + strings.Repeat("x", 107), "", "more than the 107"},
	} {
		a, err := ParseAddress(c.in)
		if c.err != "" {
			require.ErrorContains(t, err, c.err, c.in)
			require.ErrorContains(t, err, "address \"", c.in)
			continue
		}
		require.NoError(t, err, c.in)
		require.Equal(t, c.out, a.String())
	}
}

func FuzzPreamble(f *testing.F) {
	f.Add([]byte("OFFL\x00\x01\x00\x05agent"))
	f.Add([]byte("OFFL\x00\x01\x01\x17shim/default/web?create"))
	f.Add([]byte("OFFL\x00\x02\x00\x00"))
	f.Add([]byte("OFFL\x00\x01\x00\xff" + strings.Repeat("a", 255)))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		p, err := readPreamble(r)
		if err != nil {
			return
		}
		if err := p.target.Validate(); err != nil {
			t.Fatal(err)
		}
		if used := b[:len(b)-r.Len()]; !bytes.Equal(used, p.encode()) {
			t.Fatalf("%q is read as %q", used, p.encode())
		}
	})
}

func FuzzVerdict(f *testing.F) {
	f.Add([]byte("OFFV\x00\x01\x00\x00"))
	f.Add([]byte("OFFV\x00\x01\x00\x04full"))
	f.Add([]byte("OFFV\x00\x09\x00\x05\x1b[2J\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		reason, err := readVerdict(bytes.NewReader(b))
		if err != nil {
			return
		}
		if len(reason) > maxReason || strings.ContainsFunc(reason, unicode.IsControl) {
			t.Fatalf("reason %q", reason)
		}
	})
}
