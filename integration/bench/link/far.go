// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"

	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/session"
)

// What the far end is asked to do: an order and a number.
const (
	orderEcho = 'e' // send so many bytes back, one by one
	orderSink = 's' // read so many bytes, then send one
	orderSize = 5
)

const service = "bench"

// addresses are where the far end listens.
type addresses struct {
	Bare string // for connections without anything of ours
	Link uint32 // the port of a link on 127.0.0.1
}

// far is the far end, in a process of its own as it is in life.
type far struct {
	addresses
	cmd  *exec.Cmd
	stop io.Closer
}

// startFar starts the far end. dir has the certificates, if any.
func startFar(dir string) (*far, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "-far", "-certificates", dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	f := &far{cmd: cmd, stop: in}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &f.addresses)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the far end: %w", err), f.end())
	}
	return f, nil
}

// end ends the far end.
func (f *far) end() error {
	f.stop.Close()
	return f.cmd.Wait()
}

// runFar is the far end until its standard input is closed.
func runFar(ctx context.Context, s security) error {
	bare, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer bare.Close()
	linked, err := link.Listen(ctx, link.Address{Scheme: link.SchemeTCP, Host: "127.0.0.1"}, s.host)
	if err != nil {
		return err
	}
	defer linked.Close()
	go serveBare(bare, s.host.TLS)
	go serveLink(ctx, linked)
	line, err := json.Marshal(addresses{Bare: bare.Addr().String(), Link: linked.Addr().Port})
	if err != nil {
		return err
	}
	fmt.Println(string(line))
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func serveBare(l net.Listener, config *tls.Config) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if config != nil {
			c = tls.Server(c, config)
		}
		go obey(c)
	}
}

func serveLink(ctx context.Context, l *link.Listener) {
	acceptor := session.NewAcceptor(session.Config{Name: "near end"})
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			conn, err := in.Handshake(ctx)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			s, fresh, err := acceptor.Handle(ctx, conn)
			if err != nil || !fresh {
				return
			}
			streams := s.Listen(service)
			for {
				st, err := streams.Accept()
				if err != nil {
					return
				}
				go obey(st)
			}
		}()
	}
}

// obey does what the near end asks for, until the connection ends.
func obey(c net.Conn) {
	defer c.Close()
	b := make([]byte, piece)
	for {
		if _, err := io.ReadFull(c, b[:orderSize]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(b[1:]))
		var err error
		if b[0] == orderEcho {
			err = echo(c, b[:1], n)
		} else {
			err = sink(c, b, n)
		}
		if err != nil {
			return
		}
	}
}

func echo(c net.Conn, b []byte, n int) error {
	for range n {
		if _, err := io.ReadFull(c, b); err != nil {
			return err
		}
		if _, err := c.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func sink(c net.Conn, b []byte, n int) error {
	for n > 0 {
		k, err := c.Read(b[:min(n, len(b))])
		if err != nil {
			return err
		}
		n -= k
	}
	_, err := c.Write(b[:1])
	return err
}

// order asks the far end for something.
func order(c net.Conn, what byte, n int) error {
	b := [orderSize]byte{what}
	binary.BigEndian.PutUint32(b[1:], uint32(n))
	_, err := c.Write(b[:])
	return err
}
