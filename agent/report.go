// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/status"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/session"
)

// CheckTimeout bounds what a daemon does to find out what is wrong around it.
const CheckTimeout = time.Second

// LinkOf describes a session.
func LinkOf(peer, address, security string, since time.Time, st session.Stats) status.Link {
	l := status.Link{
		Peer: peer, Address: address, Security: security, Since: since, State: status.LinkUp,
		Streams: st.Streams, Reconnects: st.Reconnects,
		BytesIn: st.ReceivedBytes, BytesOut: st.SentBytes, ReplayBytes: uint64(st.ReplayBytes),
	}
	if !st.Connected {
		l.State, l.Error = status.LinkResuming, st.LastError
	}
	return l
}

// Security says in words how the ends of a link know each other. peer is the
// only vsock context id that may connect, or 0.
func Security(address string, tls config.TLS, peer uint32) string {
	a, err := link.ParseAddress(address)
	switch {
	case tls.Enabled():
		return "mutual TLS 1.3"
	case err == nil && a.Scheme == link.SchemeUnix:
		return "permissions of the socket"
	case err == nil && a.Scheme == link.SchemeVsock && peer != 0:
		return "context id of the peer"
	case err == nil && a.Scheme == link.SchemeVsock:
		return "context id"
	}
	return "none"
}

// Check looks for one kind of thing that may be wrong and returns a sentence for
// each that is.
type Check func(ctx context.Context) []string

// RunChecks runs checks side by side for [CheckTimeout] at most and returns what
// they found, in their order.
func RunChecks(ctx context.Context, checks ...Check) []string {
	ctx, cancel := context.WithTimeout(ctx, CheckTimeout)
	defer cancel()
	found := make([][]string, len(checks))
	var all sync.WaitGroup
	for i, check := range checks {
		all.Go(func() { found[i] = check(ctx) })
	}
	all.Wait()
	return slices.Concat(found...)
}
