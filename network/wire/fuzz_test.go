// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/container-offload/offload/network/carrier"
	"github.com/container-offload/offload/network/twin"
)

// FuzzRead holds that a message that is taken can be sent on and is the same then, whichever of the two it is.
func FuzzRead(f *testing.F) {
	for _, v := range []any{
		Update{Seq: 1, Namespace: twin.Namespace{Resolver: true}, Offers: map[uint32]carrier.Terms{7: {Carrier: carrier.Tunnel, Offloads: []string{"csum"}}}},
		Message{Reply: &Reply{Seq: 3, Error: "no"}},
		Message{Report: &Report{Interfaces: []Change{{ID: 7, MAC: "02:42:ac:11:00:02"}}}},
	} {
		var b bytes.Buffer
		if err := Write(&b, v); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add([]byte{0, 0x10, 0, 1, '{'})
	f.Add([]byte("\x00\x00\x00\x04null"))
	f.Add([]byte("\x00\x00\x00\x04{}{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		sameAgain(t, b, new(Update), new(Update))
		sameAgain(t, b, new(Message), new(Message))
	})
}

func sameAgain(t *testing.T, b []byte, got, again any) {
	r := bytes.NewReader(b)
	if Read(r, got) != nil {
		return
	}
	if taken := len(b) - r.Len(); taken > MaxMessage+4 {
		t.Fatalf("%d bytes were taken", taken)
	}
	var sent bytes.Buffer
	if err := Write(&sent, got); err != nil {
		// Characters that JSON escapes are longer when they are sent again.
		if len(b) > MaxMessage/8 {
			return
		}
		t.Fatalf("%T can't be sent: %v", got, err)
	}
	if err := Read(bytes.NewReader(sent.Bytes()), again); err != nil {
		t.Fatalf("%s: %v", sent.Bytes(), err)
	}
	one, _ := json.Marshal(got)
	other, _ := json.Marshal(again)
	if !bytes.Equal(one, other) {
		t.Fatalf("%s became %s", one, other)
	}
}
