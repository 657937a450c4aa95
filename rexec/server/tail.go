// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

// tailBytes is how much is kept of the output of a program without a client.
const tailBytes = 256 << 10

// tail keeps the last bytes that were added.
type tail struct{ b []byte }

func (t *tail) add(p []byte) {
	if len(p) >= tailBytes {
		t.b = append(t.b[:0], p[len(p)-tailBytes:]...)
		return
	}
	if over := len(t.b) + len(p) - tailBytes; over > 0 {
		t.b = t.b[:copy(t.b, t.b[over:])]
	}
	t.b = append(t.b, p...)
}

// take returns what is kept and forgets it.
func (t *tail) take() []byte {
	b := t.b
	t.b = nil
	return b
}
