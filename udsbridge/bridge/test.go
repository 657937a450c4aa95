// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/container-offload/offload/udsbridge/bridge/policy"
	"github.com/container-offload/offload/udsbridge/bridge/wire"
)

// TestResult is what Test found.
type TestResult struct {
	// PeerPath is the socket's path on the peer, Kind its type.
	PeerPath string `json:"peer_path"`
	Kind     string `json:"kind"`
	// RoundTrip is how long the peer took to connect, in nanoseconds.
	RoundTrip time.Duration `json:"round_trip_ns"`
}

// Test connects to a path that a rule leads to the peer, as root, and hangs up. The
// peer's program sees a connection that ends at once.
func (b *Bridge) Test(ctx context.Context, path string) (TestResult, error) {
	p, c, err := b.find(path)
	if err != nil {
		return TestResult{}, err
	}
	began := time.Now()
	st, err := p.s.Open(ctx, wire.ServiceConnect, c.Encode())
	if err != nil {
		return TestResult{}, fmt.Errorf("ask the peer for %s: %w", c.Path, err)
	}
	defer st.Close()
	stop := context.AfterFunc(ctx, func() { st.Reset(ctx.Err()) })
	defer stop()
	var reply wire.Reply
	err = readFrames(st, func(f wire.Frame) error {
		if f.Type != wire.FrameReply {
			return wire.ErrMalformed
		}
		var err error
		if reply, err = wire.ParseReply(f.Payload); err != nil {
			return err
		}
		return errOver
	})
	if !errors.Is(err, errOver) {
		return TestResult{}, fmt.Errorf("ask the peer for %s: %w", c.Path, err)
	}
	if reply.Errno != 0 {
		return TestResult{}, fmt.Errorf("the peer: %s: %w", reply.Reason, reply.Errno)
	}
	_, _ = st.Write(wire.AppendFrame(nil, wire.FrameClose, nil))
	return TestResult{PeerPath: c.Path, Kind: c.Kind.String(), RoundTrip: time.Since(began)}, nil
}

// find returns what to ask whom for a path.
func (b *Bridge) find(path string) (*peer, wire.Connect, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range b.connect {
		name, ok := policy.Below(path, x.rule.Path)
		switch {
		case !ok:
			continue
		case b.current == nil:
			return nil, wire.Connect{}, fmt.Errorf("%s: the peer is not there", path)
		case x.mirrors[name] == nil && x.problem != "":
			return nil, wire.Connect{}, fmt.Errorf("%s: %s", path, x.problem)
		case x.mirrors[name] == nil:
			return nil, wire.Connect{}, fmt.Errorf("the peer has no socket %s", policy.Join(x.rule.Peer(), name))
		}
		m := x.mirrors[name]
		c := wire.Connect{Kind: m.sock.Kind, Path: m.peerPath}
		if c.Kind == 0 {
			return nil, wire.Connect{}, fmt.Errorf("no program of the peer listens on %s", m.peerPath)
		}
		return b.current, c, nil
	}
	return nil, wire.Connect{}, fmt.Errorf("no rule leads %s to the peer", path)
}
