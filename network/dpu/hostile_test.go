// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	nsfd "github.com/vishvananda/netns"

	"github.com/container-offload/offload/network/carrier"
	"github.com/container-offload/offload/network/carrier/tunnel"
	"github.com/container-offload/offload/network/netns"
	"github.com/container-offload/offload/network/twin"
	"github.com/container-offload/offload/network/wire"
)

// lines counts what is logged.
type lines struct {
	mu sync.Mutex
	n  map[string]int
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n[string(b)]++
	return len(b), nil
}

func (l *lines) with(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line, count := range l.n {
		if strings.Contains(line, text) {
			n += count
		}
	}
	return n
}

// A HOST that reports without end is heard now and then, and complained of once.
func TestAFloodOfReports(t *testing.T) {
	ns, err := netns.New()
	require.NoError(t, err)
	h, err := netlink.NewHandleAt(nsfd.NsHandle(ns.Fd()))
	require.NoError(t, err)
	defer h.Close()
	require.NoError(t, h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "other"}))
	link, err := h.LinkByName("eth0")
	require.NoError(t, err)
	require.NoError(t, h.LinkSetUp(link))

	control := make(chan net.Conn, 1)
	log := &lines{n: map[string]int{}}
	n, err := Join(t.Context(), Options{
		Name: "task:web", NS: ns, Carrier: tunnel.New(), Logger: slog.New(slog.NewTextHandler(log, nil)),
		Open: func(_ context.Context, header []byte) (net.Conn, error) {
			here, there := net.Pipe()
			t.Cleanup(func() { there.Close() })
			if h, err := wire.ParseHeader(header); err == nil && h.Kind == wire.Control {
				go answer(there)
				control <- there
			}
			return here, nil
		},
	})
	require.NoError(t, err)
	defer n.Close()

	host := <-control
	report := wire.Report{Interfaces: []wire.Change{{ID: uint32(link.Attrs().Index), Added: []twin.Address{prefix("192.0.2.1/24")}}}}
	for range 5000 {
		require.NoError(t, wire.Write(host, wire.Message{Report: &report}))
	}
	require.Eventually(t, func() bool { return log.with("take over") > 0 }, wait, tick)
	require.NoError(t, host.Close())
	require.Eventually(t, func() bool { return log.with("lost the twin") > 0 }, wait, tick)
	require.Equal(t, 1, log.with("take over"))
	addresses, err := h.AddrList(link, netlink.FAMILY_V4)
	require.NoError(t, err)
	require.Empty(t, addresses)
}

// answer takes every offer of a DPU.
func answer(conn net.Conn) {
	for {
		var u wire.Update
		if wire.Read(conn, &u) != nil {
			return
		}
		answers := map[uint32]carrier.Terms{}
		for id := range u.Offers {
			answers[id] = carrier.Terms{Carrier: carrier.Tunnel}
		}
		if wire.Write(conn, wire.Message{Reply: &wire.Reply{Seq: u.Seq, Answers: answers}}) != nil {
			return
		}
	}
}
