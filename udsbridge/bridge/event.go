// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// counter joins an eventfd here with one of the peer: what a program adds to one
// moves to the other, unless a program at the same end is quicker to read it. That
// is right for what eventfds are passed for, one end that signals and another that
// waits, either way.
//
// Nothing tells when the last program has closed an eventfd, so a counter lives as
// long as the connection by which it was passed.
type counter struct {
	peer      *peer
	st        *session.Stream
	fd        int
	edge      int // an epoll instance that has something if fd was added to
	id        uint64
	semaphore bool
	dec       wire.Decoder

	mu sync.Mutex
	// own is what the bridge has added last and may still be there. It must not go
	// back to where it came from.
	own    uint64
	unsent uint64 // goes to the peer next
	sends  bool   // somebody is about to send it
	over   bool

	sending sync.Mutex // held while sending, so that amounts stay in order
}

// count begins to join. The descriptor is the counter's own.
func (p *peer) count(st *session.Stream, fd int, semaphore bool) (*counter, error) {
	c := &counter{peer: p, st: st, fd: fd, semaphore: semaphore, dec: wire.Decoder{Whole: true}}
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if c.edge, err = edgeOf(fd); err == nil {
		if c.id, err = p.b.poller.add(c.edge, c); err != nil {
			unix.Close(c.edge)
		}
	}
	if err != nil {
		unix.Close(fd)
		st.Reset(err)
		return nil, err
	}
	p.b.joints.Add(1)
	p.b.poller.arm(c.edge, c.id, unix.EPOLLIN)
	go c.moveOut()
	return c, nil
}

// edgeOf returns an epoll instance that has something once for each time that fd was
// added to.
func edgeOf(fd int) (int, error) {
	edge, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("watch eventfd: %w", err)
	}
	if err := unix.EpollCtl(edge, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}); err != nil {
		unix.Close(edge)
		return -1, fmt.Errorf("watch eventfd: %w", err)
	}
	return edge, nil
}

// ready is the poller's call.
func (c *counter) ready(uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.unsent += c.surplus()
	c.kickLocked()
	c.peer.b.poller.arm(c.edge, c.id, unix.EPOLLIN)
}

// kickLocked has somebody send what is unsent.
func (c *counter) kickLocked() {
	if c.unsent > 0 && !c.sends {
		c.sends = true
		go c.send()
	}
}

// send tells the peer what programs here have added.
func (c *counter) send() {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.mu.Lock()
	b := binary.BigEndian.AppendUint64(nil, c.unsent)
	c.unsent, c.sends = 0, false
	c.mu.Unlock()
	if _, err := c.st.Write(wire.AppendFrame(nil, wire.FrameData, b)); err != nil {
		c.close()
	}
}

// surplus takes what programs have added since it was last asked for. What the bridge
// added and nobody has read stays. If programs may have read that meanwhile or not,
// it stays too, and all is taken to the peer: a signal too many does no harm, and one
// that is lost does.
func (c *counter) surplus() uint64 {
	if !c.added() {
		return 0
	}
	own := c.own
	c.own = 0
	now := c.value()
	n := c.drain()
	if now > own && own > 0 {
		c.put(own)
	}
	return n
}

// added reports whether something was added since it was last asked.
func (c *counter) added() bool {
	var list [1]unix.EpollEvent
	for {
		n, err := unix.EpollWait(c.edge, list[:], 0)
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

// put adds on behalf of the bridge, and has added not tell of it.
func (c *counter) put(n uint64) {
	before := c.value()
	c.add(n)
	told := c.added()
	now := c.value()
	if told && now != 0 && now != n && now != before+n {
		// A program has read and added between two of these lines.
		c.unsent += now
	}
	// Less is there if programs have read meanwhile.
	c.own = min(c.own+n, now)
}

func (c *counter) value() uint64 {
	info, err := fdInfo(c.fd)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(info["eventfd-count"], 16, 64)
	if err != nil {
		return 0
	}
	return n
}

// drain reads all there is, without waiting whatever the descriptor's flags are.
func (c *counter) drain() uint64 {
	var total uint64
	for {
		var b [8]byte
		n, err := unix.Preadv2(c.fd, [][]byte{b[:]}, -1, unix.RWF_NOWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n != len(b) {
			return total
		}
		total += binary.NativeEndian.Uint64(b[:])
		if !c.semaphore {
			return total
		}
	}
}

// add adds, and waits for room as a program would.
func (c *counter) add(n uint64) {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], n)
	for {
		_, err := unix.Write(c.fd, b[:])
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return
		}
	}
}

func (c *counter) moveOut() {
	for c.st.AwaitReadable(c.moveOut) {
		if err := c.moveSome(); err != nil {
			c.close()
			return
		}
	}
}

func (c *counter) moveSome() error {
	var buf [64]byte
	n, err := c.st.Read(buf[:])
	if err != nil {
		return err
	}
	for p := buf[:n]; len(p) > 0; {
		f, ok, rest, err := c.dec.Next(p)
		if err != nil {
			return err
		}
		p = rest
		switch {
		case !ok:
		case f.Type != wire.FrameData:
			return errOver
		case len(f.Payload) != 8:
			return fmt.Errorf("%w: %d bytes for an eventfd", wire.ErrMalformed, len(f.Payload))
		default:
			if err := c.receive(binary.BigEndian.Uint64(f.Payload)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *counter) receive(n uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return errOver
	}
	const most = 1<<64 - 2
	if n > most-min(most, c.value()) {
		return fmt.Errorf("%w: eventfd would overflow", wire.ErrMalformed)
	}
	c.unsent += c.surplus()
	c.put(n)
	c.kickLocked()
	return nil
}

// close ends it. The descriptors of programs stay, and signal nothing any more.
func (c *counter) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.over = true
	c.peer.b.poller.remove(c.edge, c.id)
	unix.Close(c.edge)
	unix.Close(c.fd)
	c.st.Close()
	if c.peer.b.joints.Add(-1) == 0 {
		go c.peer.b.retire()
	}
}

// takeEvent makes an eventfd.
func (p *peer) takeEvent(st *session.Stream, f wire.File, o *keeper) (int, error) {
	flags := unix.EFD_CLOEXEC
	if f.NonBlock {
		flags |= unix.EFD_NONBLOCK
	}
	if f.Semaphore {
		flags |= unix.EFD_SEMAPHORE
	}
	fd, err := unix.Eventfd(0, flags)
	if err != nil {
		st.Reset(err)
		return -1, fmt.Errorf("make eventfd: %w", err)
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		unix.Close(fd)
		st.Reset(err)
		return -1, fmt.Errorf("duplicate eventfd: %w", err)
	}
	c, err := p.count(st, own, f.Semaphore)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	o.keep(c.close)
	return fd, nil
}

// keeper has what lives as long as a connection and was passed by it. The zero value
// is ready for use.
type keeper struct {
	mu   sync.Mutex
	ends []func()
	over bool
}

// keep has end called when the connection ends, at once if it has.
func (k *keeper) keep(end func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over {
		go end()
		return
	}
	k.ends = append(k.ends, end)
}

// end ends everything.
func (k *keeper) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = true
	for _, end := range k.ends {
		go end()
	}
	k.ends = nil
}
