// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

const (
	// flowCheck is how often flows are looked at for programs that have gone.
	flowCheck = 15 * time.Second
	// flowIdle is how long a flow of a socket without a name is kept idle.
	flowIdle = time.Minute
	// maxFlows bounds the flows of one mirror.
	maxFlows = 4096
)

// flow is the datagrams between one socket here and the peer's, in a stream.
type flow struct {
	m    *mirror
	p    *peer
	st   *session.Stream
	key  string
	addr string // where answers go; "" if nowhere
	dec  wire.Decoder
	kept keeper

	mu      sync.Mutex
	used    time.Time
	replied bool
	closed  bool
}

// receiveAll takes the datagrams that wait.
func (m *mirror) receiveAll() {
	defer m.rest()
	for {
		if err := m.receiveOne(); err != nil {
			if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EBADF) {
				m.b.noteProblem(fmt.Errorf("datagram for %s: %w", m.peerPath, err))
			}
			return
		}
	}
}

// receiveOne takes one datagram to the peer. As on one machine, a peer who is slow
// makes the senders wait once the buffers are full.
func (m *mirror) receiveOne() error {
	s := takeScratch()
	defer s.release()
	m.mu.Lock()
	fd := m.fd
	m.mu.Unlock()
	if fd < 0 {
		return unix.EBADF
	}
	if err := s.fit(fd); err != nil {
		return err
	}
	n, oobn, flags, from, err := unix.Recvmsg(fd, s.data[wire.HeaderSize:], s.oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return err
	}
	if err := s.takeFiles(s.oob[:oobn], flags); err != nil {
		return err
	}
	f, err := m.flowOf(from, credentialsIn(s.oob[:oobn]))
	if err != nil {
		m.b.log.Debug("bridge: datagram is lost", "path", m.path, "error", err)
		return nil
	}
	frame, err := f.p.frame(s, n, f.keeper)
	if err == nil {
		_, err = f.st.Write(frame)
	}
	if err != nil {
		m.b.log.Debug("bridge: datagram is lost", "path", m.path, "error", err)
		f.close()
	}
	return nil
}

// credentialsIn returns who sent a datagram.
func credentialsIn(oob []byte) wire.Credentials {
	nobody := wire.Credentials{UID: 65534, GID: 65534}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nobody
	}
	for i := range messages {
		if c, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			return wire.Credentials{PID: uint32(c.Pid), UID: c.Uid, GID: c.Gid, Groups: []uint32{c.Gid}}
		}
	}
	return nobody
}

// flowOf returns the flow of a sender, a new one if need be.
func (m *mirror) flowOf(from unix.Sockaddr, who wire.Credentials) (*flow, error) {
	addr := ""
	if a, ok := from.(*unix.SockaddrUnix); ok && a != nil {
		addr = a.Name
	}
	key := addr
	if key == "" {
		key = fmt.Sprintf("\x00%d:%d", who.PID, who.UID)
	}
	m.mu.Lock()
	f, n := m.flows[key], len(m.flows)
	m.mu.Unlock()
	if f != nil {
		f.mu.Lock()
		f.used = time.Now()
		f.mu.Unlock()
		return f, nil
	}
	if n >= maxFlows {
		return nil, fmt.Errorf("more than %d programs send", maxFlows)
	}
	p := m.b.currentPeer()
	if p == nil {
		return nil, errors.New("there is no peer")
	}
	c := wire.Connect{Kind: wire.Datagram, Path: m.peerPath, Who: who, Source: addr}
	st, err := p.open(wire.ServiceConnect, c.Encode())
	if err != nil {
		return nil, err
	}
	f = &flow{m: m, p: p, st: st, key: key, addr: addr, used: time.Now(), dec: wire.Decoder{Whole: true}}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.flows == nil {
		st.Close()
		return nil, errors.New("mirror is closed")
	}
	m.flows[key] = f
	go f.moveOut()
	return f, nil
}

// keeper returns what ends what was passed with the flow.
func (f *flow) keeper() *keeper { return &f.kept }

// moveOut takes the answers to the program.
func (f *flow) moveOut() {
	for f.st.AwaitReadable(f.moveOut) {
		if err := f.moveSome(); err != nil {
			f.close()
			return
		}
	}
}

func (f *flow) moveSome() error {
	s := takeScratch()
	defer s.release()
	n, err := f.st.Read(s.data)
	if err != nil {
		return err
	}
	for p := s.data[:n]; len(p) > 0; {
		frame, ok, rest, err := f.dec.Next(p)
		if err != nil {
			return err
		}
		if ok {
			if err := f.take(frame); err != nil {
				return err
			}
		}
		p = rest
	}
	return nil
}

func (f *flow) take(frame wire.Frame) error {
	if !f.replied {
		f.replied = true
		if frame.Type != wire.FrameReply {
			return wire.ErrMalformed
		}
		r, err := wire.ParseReply(frame.Payload)
		if err == nil && r.Errno != 0 {
			err = r.Errno
		}
		return err
	}
	switch frame.Type {
	case wire.FrameData:
		return f.deliver(frame.Payload, nil)
	case wire.FrameFiles:
		files, err := wire.ParseFiles(frame.Payload)
		if err != nil {
			return err
		}
		fds, err := f.p.accept(files.List, f.keeper())
		if err != nil {
			f.m.b.noteProblem(err)
			return err
		}
		defer closeAll(fds)
		return f.deliver(files.Data, fds)
	default:
		return errOver
	}
}

// deliver sends a datagram from the mirror, so that the program sees the address it
// knows as its source.
func (f *flow) deliver(b []byte, fds []int) error {
	if f.addr == "" {
		return nil
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	pause := time.Millisecond
	for {
		f.m.mu.Lock()
		fd, done := f.m.fd, f.m.done
		var err error = unix.EBADF
		if fd >= 0 {
			_, err = unix.SendmsgN(fd, b, oob, &unix.SockaddrUnix{Name: f.addr}, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		}
		f.m.mu.Unlock()
		switch {
		case errors.Is(err, unix.EMSGSIZE):
			if err := growSendBuffer(fd, len(b)); err != nil {
				return err
			}
			continue
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOBUFS):
			return err
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 20*time.Millisecond)
		case <-done:
			return errOver
		}
	}
}

// close ends the flow. The next datagram of the program begins another.
func (f *flow) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	f.kept.end()
	go func() { // it may have to wait for a slow peer
		_, _ = f.st.Write(wire.AppendFrame(nil, wire.FrameClose, nil))
		f.st.Close()
	}()
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.m.flows[f.key] == f {
		delete(f.m.flows, f.key)
	}
}

// expireFlows ends the flows of programs that have gone.
func (m *mirror) expireFlows() {
	t := time.NewTicker(flowCheck)
	defer t.Stop()
	for {
		select {
		case <-m.done:
			return
		case <-t.C:
		}
		m.mu.Lock()
		var all []*flow
		for _, f := range m.flows {
			all = append(all, f)
		}
		m.mu.Unlock()
		for _, f := range all {
			if f.expired() {
				f.close()
			}
		}
	}
}

func (f *flow) expired() bool {
	if f.addr == "" {
		f.mu.Lock()
		defer f.mu.Unlock()
		return time.Since(f.used) > flowIdle
	}
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(s)
	err = unix.Connect(s, &unix.SockaddrUnix{Name: f.addr})
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT)
}
