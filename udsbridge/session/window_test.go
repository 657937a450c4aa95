// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWindowFor(t *testing.T) {
	for rtt, want := range map[time.Duration]int{
		0:                      maxCredit / 2,
		time.Microsecond:       nearWindow,
		64 * time.Microsecond:  256 << 10,
		100 * time.Microsecond: 400 << 10,
		256 * time.Microsecond: 1 << 20,
		time.Hour:              maxCredit / 2,
	} {
		assert.Equal(t, want, windowFor(rtt), rtt)
	}
}

// The kernel tells the round trip of TCP, and of nothing else.
func TestRoundTrip(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	rtt := roundTrip(c)
	assert.Positive(t, rtt)
	assert.Less(t, rtt, 10*time.Second)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	assert.Zero(t, roundTrip(a))
}
