// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/container-offload/offload/rexec/relay"
	"github.com/container-offload/offload/udsbridge/session"
)

// openRexec opens a stream for a client of this machine. Only the DPU dials, so
// it takes a session that is there, the latest one.
func (a *Agent) openRexec(ctx context.Context) (net.Conn, error) {
	a.mu.Lock()
	var latest *session.Session
	var since time.Time
	for sess, t := range a.sessions {
		if latest == nil || t.After(since) {
			latest, since = sess, t
		}
	}
	a.mu.Unlock()
	if latest == nil {
		return nil, errors.New("the DPU is not connected")
	}
	return latest.Open(ctx, relay.Service, nil)
}
