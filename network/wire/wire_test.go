// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"io"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/network/carrier"
	"github.com/container-offload/offload/network/twin"
)

func TestHeaderGolden(t *testing.T) {
	for text, h := range map[string]Header{
		`{"network":"task:web","kind":"control"}`:              {Network: "task:web", Kind: Control},
		`{"network":"task:web","kind":"frames","interface":7}`: {Network: "task:web", Kind: Frames, Interface: 7},
		`{"network":"netns:4026","kind":"dns-udp"}`:            {Network: "netns:4026", Kind: DNSDatagram},
		`{"network":"netns:4026","kind":"dns-tcp"}`:            {Network: "netns:4026", Kind: DNSStream},
	} {
		require.Equal(t, text, string(h.Encode()))
		got, err := ParseHeader([]byte(text))
		require.NoError(t, err)
		require.Equal(t, h, got)
	}
}

func TestParseHeaderRefuses(t *testing.T) {
	for in, want := range map[string]string{
		``:                                   "EOF",
		`{"kind":"control"}`:                 "a name of 0 bytes",
		`{"network":"x","kind":"frames"}`:    "without an interface",
		`{"network":"x","kind":"tap"}`:       `unknown kind "tap"`,
		`{"network":"x","kind":"control"} 1`: "bytes after",
		`{"network":"x","kind":"control","interface":1}`: "with an interface",
	} {
		_, err := ParseHeader([]byte(in))
		require.ErrorContains(t, err, want, in)
	}
}

func TestUpdateGolden(t *testing.T) {
	u := Update{
		Seq: 1,
		Namespace: twin.Namespace{
			Interfaces: []twin.Interface{{
				ID: 7, Name: "eth0", MAC: "02:42:ac:11:00:02", MTU: 1500, Up: true,
				Addresses: []twin.Address{{Prefix: netip.MustParsePrefix("172.17.0.2/16"), Broadcast: netip.MustParseAddr("172.17.255.255")}},
			}},
			Routes: []twin.Route{{
				Type: twin.Unicast, Destination: netip.MustParsePrefix("0.0.0.0/0"), Interface: 7, Gateway: netip.MustParseAddr("172.17.0.1"),
			}},
			Resolver: true,
		},
		Offers: map[uint32]carrier.Terms{7: {Carrier: "tunnel", Offloads: []string{"csum", "tso4"}}},
	}
	var b bytes.Buffer
	require.NoError(t, Write(&b, u))
	require.Equal(t, "\x00\x00\x01\x5e"+`{"seq":1,"namespace":{"interfaces":[{"id":7,"name":"eth0","mac":"02:42:ac:11:00:02","mtu":1500,"up":true,`+
		`"addresses":[{"prefix":"172.17.0.2/16","broadcast":"172.17.255.255"}]}],`+
		`"routes":[{"type":"unicast","destination":"0.0.0.0/0","interface":7,"gateway":"172.17.0.1"}],"resolver":true},`+
		`"offers":{"7":{"carrier":"tunnel","offloads":["csum","tso4"]}}}`, b.String())
	var got Update
	require.NoError(t, Read(&b, &got))
	require.Equal(t, u, got)
	require.ErrorIs(t, Read(&b, &got), io.EOF)
}

func TestReadBounds(t *testing.T) {
	var m Message
	require.ErrorContains(t, Read(bytes.NewReader([]byte{0xff, 0, 0, 0}), &m), "more than")
	require.ErrorIs(t, Read(bytes.NewReader([]byte{0, 0, 0, 9, '{'}), &m), io.ErrUnexpectedEOF)
}

func FuzzParseHeader(f *testing.F) {
	f.Add(Header{Network: "task:web", Kind: Frames, Interface: 7}.Encode())
	f.Add([]byte(`{"network":"x"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			return
		}
		if again, err := ParseHeader(h.Encode()); err != nil || again != h {
			t.Fatalf("%+v became %+v (%v)", h, again, err)
		}
	})
}
