// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"os"
	"sync"

	"github.com/container-offload/offload/network/netns"
)

// netNamespaces are the network namespaces that stand here for those of the
// DPU which no task made. The containers of a pod that were given the same one
// there get the same one here.
type netNamespaces struct {
	mu    sync.Mutex
	byKey map[string]*os.File
}

// path returns the path of the namespace for key, made on first use.
func (n *netNamespaces) path(key string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f, ok := n.byKey[key]
	if !ok {
		var err error
		if f, err = netns.New(); err != nil {
			return "", err
		}
		if n.byKey == nil {
			n.byKey = map[string]*os.File{}
		}
		n.byKey[key] = f
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()), nil
}

func (n *netNamespaces) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range n.byKey {
		f.Close()
	}
	n.byKey = nil
}
