// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/container-offload/offload/network/netns"
	"github.com/container-offload/offload/network/twin"
)

// maxQueries bounds the queries and connections of one container that wait.
const maxQueries = 256

// maxQuery is the longest query that is relayed over UDP, in bytes.
const maxQuery = 4096

// Open opens a stream to the DPU for a query or, if tcp, for a connection.
type Open func(ctx context.Context, tcp bool) (net.Conn, error)

// Relay answers on 127.0.0.11:53 inside a namespace.
type Relay struct {
	open   Open
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	udp    *net.UDPConn
	tcp    *net.TCPListener
	slots  chan struct{}
}

// Start begins to answer in the namespace. Like dockerd it listens on ports of
// the kernel's choice, to which the namespace's packet filter leads, so that
// the container's own port 53 is free.
func Start(ns *os.File, open Open, log *slog.Logger) (*Relay, error) {
	r := &Relay{open: open, log: log, slots: make(chan struct{}, maxQueries)}
	err := netns.Do(ns, func() error {
		var err error
		address := netip.AddrPortFrom(twin.ResolverAddress, 0)
		if r.udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(address)); err != nil {
			return err
		}
		r.tcp, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(address))
		return err
	})
	if err == nil {
		err = redirect(ns, port(r.udp.LocalAddr()), port(r.tcp.Addr()))
	}
	if err != nil {
		r.closeSockets()
		return nil, fmt.Errorf("answer DNS queries: %w", err)
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	go r.serveDatagrams()
	go r.serveStreams()
	return r, nil
}

func port(a net.Addr) uint16 {
	switch a := a.(type) {
	case *net.UDPAddr:
		return uint16(a.Port)
	case *net.TCPAddr:
		return uint16(a.Port)
	}
	return 0
}

// Close stops answering. The rules of the packet filter stay until the
// namespace goes; a later relay replaces them.
func (r *Relay) Close() {
	r.cancel()
	r.closeSockets()
}

func (r *Relay) closeSockets() {
	if r.udp != nil {
		r.udp.Close()
	}
	if r.tcp != nil {
		r.tcp.Close()
	}
}

func (r *Relay) serveDatagrams() {
	buf := make([]byte, maxQuery)
	for {
		n, from, err := r.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			r.log.Debug("read DNS query", "error", err)
			continue
		}
		select {
		case r.slots <- struct{}{}:
		default:
			continue // whoever asks asks again
		}
		query := append([]byte(nil), buf[:n]...)
		go func() {
			defer func() { <-r.slots }()
			if err := ignoreClosed(r.relay(query, from)); err != nil {
				r.log.Debug("relay DNS query", "error", err)
			}
		}()
	}
}

func (r *Relay) relay(query []byte, from netip.AddrPort) error {
	st, err := r.open(r.ctx, false)
	if err != nil {
		return err
	}
	defer st.Close()
	if _, err := st.Write(query); err != nil {
		return err
	}
	if half, ok := st.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); err != nil {
			return err
		}
	}
	if err := st.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	answer, err := io.ReadAll(io.LimitReader(st, maxMessage))
	if err != nil || len(answer) == 0 {
		return err
	}
	_, err = r.udp.WriteToUDPAddrPort(answer, from)
	return err
}

func (r *Relay) serveStreams() {
	for {
		c, err := r.tcp.Accept()
		if err != nil {
			return
		}
		select {
		case r.slots <- struct{}{}:
		default:
			c.Close()
			continue
		}
		go func() {
			defer func() { <-r.slots }()
			defer c.Close()
			st, err := r.open(r.ctx, true)
			if err != nil {
				r.log.Debug("relay DNS connection", "error", err)
				return
			}
			defer st.Close()
			join(st, c)
		}()
	}
}
