// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseIDMap(t *testing.T) {
	got, err := ParseIDMap("0:100000:65536, 70000:0:1")
	require.NoError(t, err)
	assert.Equal(t, []IDRange{{0, 100000, 65536}, {70000, 0, 1}}, got)
	got, err = ParseIDMap("")
	require.NoError(t, err)
	assert.Empty(t, got)
	for text, want := range map[string]string{
		"0:1":                  "three numbers",
		"0:0:0":                "three numbers",
		"0:4294967295:2":       "three numbers",
		"a:b:c":                "three numbers",
		"0:0:1,":               "three numbers",
		"0:100:10,9:200:10":    "in common",
		"0:100:10,20:109:10":   "in common",
		"-1:0:1":               "three numbers",
		"0:0:99999999999":      "three numbers",
		"0:0:1,5:5:1,5:6:1":    "in common",
		"0:0:1,1:1:1,2:2:1 :3": "three numbers",
	} {
		_, err := ParseIDMap(text)
		assert.ErrorContains(t, err, want, text)
	}
}

func TestParseUser(t *testing.T) {
	uid, gid, err := ParseUser("65534:100")
	require.NoError(t, err)
	assert.Equal(t, [2]uint32{65534, 100}, [2]uint32{uid, gid})
	for _, bad := range []string{"", "1", "1:2:3", "x:1", "4294967295:1", "1:4294967295"} {
		_, _, err := ParseUser(bad)
		assert.Error(t, err, bad)
	}
}
