// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import "testing"

// FuzzParseIdentity holds that an identity that is taken is written as one that means the same, and is somebody's.
func FuzzParseIdentity(f *testing.F) {
	for _, s := range []string{"same", "0:0", "1000:100", "4294967295:0", "+1:1", "1:", ":"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		i, err := ParseIdentity(s)
		if err != nil {
			return
		}
		if again, err := ParseIdentity(i.String()); err != nil || again != i || i.UID == invalidID || i.GID == invalidID {
			t.Fatalf("%q is %+v, and again %+v (%v)", s, i, again, err)
		}
	})
}
