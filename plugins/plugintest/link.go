// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Link joins the two ends. The zero value is not usable; see [NewLink].
type Link struct {
	mu     sync.Mutex
	ends   map[string]*listener
	open   []net.Conn
	closed bool
}

// NewLink gives a link that is up.
func NewLink() *Link { return &Link{ends: map[string]*listener{}} }

// Open starts a stream to a service, as a session does.
func (l *Link) Open(ctx context.Context, service string, header []byte) (net.Conn, error) {
	near, far, err := pair()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	end, closed := l.ends[service], l.closed
	if !closed {
		l.open = append(l.open, near, far)
	}
	l.mu.Unlock()
	if end == nil || closed {
		near.Close()
		far.Close()
		return nil, fmt.Errorf("open %s: link is down: %w", service, net.ErrClosed)
	}
	select {
	case end.streams <- &stream{UnixConn: far, header: header}:
		return near, nil
	case <-end.done:
		err = net.ErrClosed
	case <-ctx.Done():
		err = ctx.Err()
	}
	near.Close()
	far.Close()
	return nil, fmt.Errorf("open %s: %w", service, err)
}

// Listen gives the listener of a service, as a session does.
func (l *Link) Listen(service string) net.Listener {
	end := &listener{service: service, streams: make(chan net.Conn), done: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends[service] = end
	return end
}

// Cut breaks every stream there is. New ones can be opened.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.open {
		c.Close()
	}
	l.open = nil
}

// Close breaks every stream and lets no more be opened.
func (l *Link) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.Cut()
}

type stream struct {
	*net.UnixConn
	header []byte
}

func (s *stream) Header() []byte { return s.header }

type listener struct {
	service string
	streams chan net.Conn
	done    chan struct{}
	once    sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.streams:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: l.service, Net: "unix"} }

func pair() (near, far *net.UnixConn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	conns := make([]*net.UnixConn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "stream")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			return nil, nil, fmt.Errorf("make stream: %w", err)
		}
		conns[i] = c.(*net.UnixConn)
	}
	return conns[0], conns[1], nil
}
