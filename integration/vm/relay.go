// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// Relay joins the AF_VSOCK of two machines on one port. The device makes a connection of the DPU to context id 2 a
// connection to a unix socket of this machine; from there the relay reaches the HOST as this machine, by the line of
// text that the device expects on the HOST's socket. Each guest so sees the other as context id 2.
//
// The relay carries bytes and ends of streams and looks at nothing.
type Relay struct {
	listener net.Listener
	target   string // the HOST's socket
	port     uint32
	serving  sync.WaitGroup

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool // of what is being relayed, both ends
}

// startRelay listens on the socket that the device connects to, and reaches the port at the target's socket.
func startRelay(socket, target string, port uint32) (*Relay, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("relay vsock: %w", err)
	}
	r := &Relay{listener: l, target: target, port: port, conns: map[net.Conn]bool{}}
	r.serving.Go(r.serve)
	return r, nil
}

func (r *Relay) serve() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.serving.Go(func() {
			defer conn.Close()
			_ = r.join(conn)
		})
	}
}

// join relays one connection until both of its directions have ended.
func (r *Relay) join(from net.Conn) error {
	if !r.admit(from) {
		return errors.New("cut")
	}
	defer r.forget(from)
	to, err := new(net.Dialer).DialContext(context.Background(), "unix", r.target)
	if err != nil {
		return err
	}
	defer to.Close()
	if !r.admit(to) {
		return errors.New("cut")
	}
	defer r.forget(to)
	if _, err := fmt.Fprintf(to, "CONNECT %d\n", r.port); err != nil {
		return err
	}
	answers := bufio.NewReader(to)
	line, err := answers.ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "OK ") {
		return fmt.Errorf("no connection to port %d: %q", r.port, line)
	}
	var both sync.WaitGroup
	both.Go(func() { oneWay(to, from) })
	both.Go(func() { oneWay(from, answers) })
	both.Wait()
	return nil
}

// oneWay copies until the end and passes that on. An error ends both directions.
func oneWay(to net.Conn, from io.Reader) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		if conn, ok := from.(net.Conn); ok {
			conn.Close()
		}
		return
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// admit notes a connection, unless everything is cut.
func (r *Relay) admit(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.cut {
		r.conns[c] = true
	}
	return !r.cut
}

func (r *Relay) forget(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

// Cut breaks every connection, and each new one at once, until Mend.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = true
	for c := range r.conns {
		c.Close()
	}
}

// Mend ends a cut.
func (r *Relay) Mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = false
}

// Open counts the connections that are being relayed.
func (r *Relay) Open() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns) / 2
}

// Close breaks every connection and listens no more.
func (r *Relay) Close() error {
	err := r.listener.Close()
	r.Cut()
	r.serving.Wait()
	return err
}
