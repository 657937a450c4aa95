// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// What the first byte of a connection or packet asks for.
const (
	askSink   = 's' // take all, then answer with the number of bytes, 8 bytes most significant first
	askSource = 'S' // send until the connection ends
	askEcho   = 'e' // send the same back
	askCount  = 'c' // count the packet
	askTotal  = 't' // answer with the number of packets counted, and begin again
)

func serve(port string) error {
	u, err := net.ListenPacket("udp", ":"+strings.TrimPrefix(port, tlsPrefix))
	if err != nil {
		return err
	}
	l, err := listen(port)
	if err != nil {
		return err
	}
	go servePackets(u.(*net.UDPConn))
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			serveConn(c)
		}()
	}
}

func serveConn(c net.Conn) {
	var ask [1]byte
	if _, err := io.ReadFull(c, ask[:]); err != nil {
		return
	}
	buf := make([]byte, 256<<10)
	switch ask[0] {
	case askSink:
		var total uint64
		for {
			n, err := c.Read(buf)
			total += uint64(n)
			if err != nil {
				break
			}
		}
		_, _ = c.Write(binary.BigEndian.AppendUint64(nil, total))
	case askSource:
		for {
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	case askEcho:
		_, _ = io.Copy(c, c)
	}
}

func servePackets(u *net.UDPConn) {
	_ = u.SetReadBuffer(4 << 20)
	var counted atomic.Uint64
	buf := make([]byte, 65536)
	for {
		n, from, err := u.ReadFromUDPAddrPort(buf)
		if err != nil || n == 0 {
			continue
		}
		switch buf[0] {
		case askEcho:
			_, _ = u.WriteToUDPAddrPort(buf[:n], from)
		case askCount:
			counted.Add(1)
		case askTotal:
			_, _ = u.WriteToUDPAddrPort(binary.BigEndian.AppendUint64(nil, counted.Swap(0)), from)
		}
	}
}

// serveDNS answers queries for the name with the address, and all others with the news that there is no such name.
func serveDNS(port, name, address string) error {
	addr, err := netip.ParseAddr(address)
	if err != nil || !addr.Is4() {
		return fmt.Errorf("address %q is not of IPv4", address)
	}
	u, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for {
		n, from, err := u.ReadFrom(buf)
		if err != nil {
			return err
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) == 0 {
			continue
		}
		m.Response, m.Additionals, m.RCode = true, nil, dnsmessage.RCodeNameError
		if q := m.Questions[0]; q.Name.String() == name+"." {
			m.RCode = dnsmessage.RCodeSuccess
			if q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: uint32(time.Minute / time.Second)},
					Body:   &dnsmessage.AResource{A: addr.As4()},
				}}
			}
		}
		if b, err := m.Pack(); err == nil {
			_, _ = u.WriteTo(b, from)
		}
	}
}
