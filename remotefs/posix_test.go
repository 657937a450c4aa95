// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package remotefs_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/remotefs/client"
	"github.com/container-offload/offload/remotefs/server"
)

// TestPosix runs go-fuse's list of what every file system must do.
func TestPosix(t *testing.T) {
	for _, c := range []struct {
		name  string
		cache client.Cache
	}{{"auto", client.CacheAuto}, {"none", client.CacheNone}, {"always", client.CacheAlways}} {
		t.Run(c.name, func(t *testing.T) {
			far, _ := pair(t, server.Export{}, client.Options{Cache: c.cache})
			for name, test := range posixtest.All {
				if name == "FcntlFlockLocksFile" {
					continue // wants a process to be in its own way, which it is not on Linux
				}
				t.Run(name, func(t *testing.T) {
					dir := filepath.Join(far, name)
					require.NoError(t, os.Mkdir(dir, 0o755))
					test(t, dir)
				})
			}
		})
	}
}
