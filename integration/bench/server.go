// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"net"
	"time"
)

// serverPatience is how long a server may take to be there.
const serverPatience = 20 * time.Second

// FreePort is an address of loopback on which nothing listens, or empty if there is none.
func FreePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return ""
	}
	defer l.Close()
	return l.Addr().String()
}

// AwaitServer waits until connections to the address are taken.
func AwaitServer(network, address string) error {
	for end := time.Now().Add(serverPatience); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial(network, address)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return err
		}
	}
}
