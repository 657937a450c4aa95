// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package framing

import (
	"bytes"
	"testing"

	"github.com/container-offload/offload/remotefs/wire"
)

// FuzzReceiver holds that no more comes out of a connection than went in, however much of each frame's data is read.
func FuzzReceiver(f *testing.F) {
	frame := func(body, data string) []byte {
		h := wire.Header{Kind: wire.KindRequest, Op: wire.OpWrite, ID: 1, Body: len(body), Data: len(data)}
		return append(h.Append(nil), body+data...)
	}
	f.Add(append(frame("body", "data"), frame("", "more")...), uint16(2))
	f.Add(frame("", ""), uint16(0))
	f.Add(wire.Header{Kind: wire.KindReply, Op: wire.OpRead, Data: wire.MaxData}.Append(nil), uint16(1))
	f.Fuzz(func(t *testing.T, stream []byte, part uint16) {
		r := NewReceiver(bytes.NewReader(stream))
		for {
			h, body, err := r.Next()
			if err != nil {
				break
			}
			if len(body) != h.Body {
				t.Fatalf("a body of %d bytes, not %d", len(body), h.Body)
			}
			if r.Data(make([]byte, min(int(part), h.Data))) != nil {
				break
			}
		}
	})
}
