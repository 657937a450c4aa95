// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link

import "testing"

// FuzzAddress holds that an address that is taken is written as one that means the same.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"tcp://[::1]:7600", "tcp://:0", "tcp://a b:1", "vsock://any:1", "vsock://2:4294967294", "unix:///run//x/../y", "unix:///", "tcp:/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		if again, err := ParseAddress(a.String()); err != nil || again != a {
			t.Fatalf("%q is %+v, and %q is %+v (%v)", s, a, a.String(), again, err)
		}
	})
}

// FuzzTarget holds the same of targets, which name directories of the HOST.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"agent", "shim/default/web", "shim/default/web?create", "agent?create", "shim/../x", "shim/a/b/c", "shim//"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := ParseTarget(s)
		if err == nil && target.String() != s {
			t.Fatalf("%q is %q", s, target)
		}
	})
}
