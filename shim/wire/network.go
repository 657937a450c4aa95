// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"strings"

	"github.com/containerd/containerd/v2/pkg/identifiers"
)

// Services of a shim's session for the networks of its containers. What their
// streams carry is package network's; a stream's header is a wire.Header of it,
// in which a network is named by one of the functions below.
const (
	// ServiceNetwork (DPU opens) is the control and frames streams.
	ServiceNetwork = "network"
	// ServiceNetworkDNS (HOST opens) is the DNS streams.
	ServiceNetworkDNS = "network-dns"
)

const (
	taskNetwork  = "task:"
	netNSNetwork = "netns:"
)

// TaskNetwork names the network namespace that a task of this shim has for
// itself.
func TaskNetwork(id string) string { return taskNetwork + id }

// NetNSNetwork names the network namespace that [NetNSRef] refers to by key.
func NetNSNetwork(key string) string { return netNSNetwork + key }

// ParseNetwork returns what a network's name stands for: the id of a task, or
// the key of a [NetNSRef]. The other is empty. It reports false for no name.
func ParseNetwork(name string) (id, key string, ok bool) {
	if id, ok := strings.CutPrefix(name, taskNetwork); ok {
		return id, "", identifiers.Validate(id) == nil
	}
	key, ok = NetNSRef(strings.TrimPrefix(name, netNSNetwork)).NetNS()
	return "", key, ok && strings.HasPrefix(name, netNSNetwork)
}
