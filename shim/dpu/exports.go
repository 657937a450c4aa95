// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/containerd/errdefs"

	"github.com/container-offload/offload/remotefs/server"
	"github.com/container-offload/offload/shim/pathrule"
	"github.com/container-offload/offload/shim/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// exports are the DPU paths that the pod's containers were given: files and
// directories by remotefs, unix sockets by connections. The HOST reaches
// exactly these, for as long as the task that has them lives.
type exports struct {
	log    *slog.Logger
	server *server.Server

	mu      sync.Mutex
	next    int
	sockets map[string]string
}

func newExports(log *slog.Logger) *exports {
	return &exports{log: log, server: server.New(server.Options{Logger: log}), sockets: map[string]string{}}
}

// add exports one place, with what is mounted below it or without. The returned
// function takes it back.
func (e *exports) add(p pathrule.Place, below bool) (wire.Ref, func(), error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	name := strconv.Itoa(e.next)
	e.next++
	if p.Kind == pathrule.Socket {
		e.sockets[name] = p.DPU
		return wire.SocketRef(name), func() { e.removeSocket(name) }, nil
	}
	err := e.server.Add(server.Export{Name: name, Path: p.DPU, File: p.File, ReadOnly: p.ReadOnly, CrossMounts: below})
	if err != nil {
		return "", nil, fmt.Errorf("export %s: %w", p.DPU, err)
	}
	return wire.ExportRef(name), func() {
		if err := e.server.Remove(name); err != nil {
			e.log.Warn("remove export", "path", p.DPU, "error", err)
		}
	}, nil
}

func (e *exports) removeSocket(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.sockets, name)
}

func (e *exports) socket(name string) (string, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, ok := e.sockets[name]
	return p, ok
}

// serve answers the HOST's file requests until the session ends.
func (e *exports) serve(ctx context.Context, sess *session.Session) {
	eachConn(sess.Listen(wire.ServiceFiles), maxFileConns, func(c net.Conn) {
		if err := e.server.Serve(ctx, c); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			e.log.Debug("serve files", "error", err)
		}
	})
}

// serveSockets joins each connection the HOST opens to the socket it names.
func (e *exports) serveSockets(ctx context.Context, l net.Listener) {
	eachConn(l, anyNumber, func(c net.Conn) {
		st, ok := c.(*session.Stream)
		if !ok {
			return
		}
		path, ok := e.socket(string(st.Header()))
		if !ok {
			st.Reset(fmt.Errorf("socket %q is not exported", st.Header()))
			return
		}
		local, err := dialSocket(ctx, path)
		if err != nil {
			st.Reset(err)
			return
		}
		defer local.Close()
		join(st, local.(*net.UnixConn))
	})
}

// dialSocket connects to the socket of the DPU that is at path now: whoever serves it
// may have made it anew since it was exported.
func dialSocket(ctx context.Context, path string) (net.Conn, error) {
	place, err := pathrule.Resolve(path)
	if err != nil {
		return nil, err
	}
	defer place.Close()
	if place.Host != "" || place.Kind != pathrule.Socket {
		return nil, fmt.Errorf("%s is no socket of the DPU any more: %w", path, errdefs.ErrNotFound)
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", place.File.Fd()))
}

// maxFileConns bounds the connections on which the HOST asks for files at once: a
// pod's half has one, and each may make this side keep files open and memory.
const maxFileConns = 4

// anyNumber of connections is as many as a session has streams.
const anyNumber = 1 << 20

// eachConn serves each connection of l, and refuses those for which there is no
// place among so many at once.
func eachConn(l net.Listener, most int32, serve func(net.Conn)) {
	var now atomic.Int32
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if now.Add(1) > most {
			now.Add(-1)
			c.Close()
			continue
		}
		go func() {
			defer now.Add(-1)
			defer c.Close()
			serve(c)
		}()
	}
}

// join copies both ways until both directions have ended.
func join(a, b stream) {
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(a, b); _ = a.CloseWrite() })
	wg.Go(func() { _, _ = io.Copy(b, a); _ = b.CloseWrite() })
	wg.Wait()
}
