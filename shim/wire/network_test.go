// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNetworkNames(t *testing.T) {
	id, key, ok := ParseNetwork(TaskNetwork("web"))
	require.True(t, ok)
	require.Equal(t, "web", id)
	require.Empty(t, key)
	id, key, ok = ParseNetwork(NetNSNetwork("4026531840"))
	require.True(t, ok)
	require.Equal(t, "4026531840", key)
	require.Empty(t, id)
	for _, name := range []string{"", "web", "task:", "task:../x", "netns:", "netns:..", "netns:a/b", "host:", "4026531840"} {
		_, _, ok := ParseNetwork(name)
		require.False(t, ok, "%q", name)
	}
}
