// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/network/netns"
	"github.com/container-offload/offload/network/twin"
)

const (
	// maxMessage is the longest DNS message, in bytes.
	maxMessage = 65535
	// patience is how long an answer may take: dockerd asks several servers in
	// turn.
	patience = 30 * time.Second
	// idle is how long a TCP connection may be silent.
	idle = 2 * time.Minute
)

var server = net.JoinHostPort(twin.ResolverAddress.String(), "53")

// AnswerDatagram reads a query from the stream, asks the server in the
// namespace, and writes its answer. It closes the stream.
func AnswerDatagram(ns *os.File, stream net.Conn) error {
	defer stream.Close()
	query, err := io.ReadAll(io.LimitReader(stream, maxMessage+1))
	if err != nil {
		return fmt.Errorf("read DNS query: %w", err)
	}
	if len(query) > maxMessage {
		return errors.New("read DNS query: too long")
	}
	c, err := dial(ns, "udp4")
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.Write(query); err != nil {
		return fmt.Errorf("ask DNS server: %w", err)
	}
	b := make([]byte, maxMessage)
	n, err := c.Read(b)
	if err != nil {
		return fmt.Errorf("ask DNS server: %w", err)
	}
	if _, err := stream.Write(b[:n]); err != nil {
		return fmt.Errorf("send DNS answer: %w", err)
	}
	return nil
}

// AnswerStream joins the stream with a TCP connection to the server in the
// namespace. It closes the stream.
func AnswerStream(ns *os.File, stream net.Conn) error {
	defer stream.Close()
	c, err := dial(ns, "tcp4")
	if err != nil {
		return err
	}
	defer c.Close()
	join(stream, c)
	return nil
}

// dial connects to the server from inside the namespace.
func dial(ns *os.File, network string) (c net.Conn, err error) {
	err = netns.Do(ns, func() error {
		// The socket is made by this goroutine, since the address is no name.
		d := net.Dialer{Timeout: patience}
		c, err = d.Dial(network, server)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reach DNS server: %w", err)
	}
	return c, nil
}

// join copies both ways until either side is silent for too long or both have
// ended.
func join(a, b net.Conn) {
	var wg sync.WaitGroup
	wg.Go(func() { pump(a, b) })
	wg.Go(func() { pump(b, a) })
	wg.Wait()
}

func pump(to, from net.Conn) {
	buf := make([]byte, 4096)
	for {
		_ = from.SetReadDeadline(time.Now().Add(idle))
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// ignoreClosed keeps the end of a listener from looking like a failure.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EBADF) {
		return nil
	}
	return err
}
