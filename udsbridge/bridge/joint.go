// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// kind is what sort of descriptor a joint has.
type kind uint8

const (
	byteSocket    kind = iota // carries a stream of bytes both ways
	messageSocket             // carries messages both ways
	readEnd                   // of a pipe: is only read
	writeEnd                  // of a pipe: is only written
	terminalEnd               // a terminal, or the master of one
)

// progress is what one direction of a joint is doing.
type progress uint8

const (
	running  progress = iota // a goroutine is at it
	parked                   // waits for its source
	watching                 // has nothing to move, and waits for the other end to go
	ended
)

// joint joins a descriptor of this machine with a stream of the session, until
// either ends for good. The descriptor and the stream are its own.
//
// Two directions move independently: in, from the descriptor to the peer, and out.
type joint struct {
	peer *peer
	st   *session.Stream
	fd   int
	kind kind
	id   uint64 // the poller's

	// onReply is called with the first frame, which must be a reply; nil if none is
	// awaited. Only out touches it.
	onReply func(wire.Reply)
	// onEnd, if set, is called once, when the descriptor has been closed.
	onEnd func()
	term  *terminal // of a terminalEnd
	// dec is out's.
	dec wire.Decoder

	mu       sync.Mutex
	in, out  progress
	waiting  chan struct{} // out waits for room in the descriptor
	broken   bool          // given up: nothing is to be moved any more
	finished bool          // the descriptor is closed
	kept     *keeper       // nil until something is passed
}

// keeper returns what ends what was passed with the joint.
func (j *joint) keeper() *keeper {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.kept == nil {
		j.kept = new(keeper)
		if j.finished {
			j.kept.end()
		}
	}
	return j.kept
}

// join begins to move. The descriptor is closed with the joint, and on error.
func (p *peer) join(j *joint) error {
	j.peer = p
	j.dec.Whole = j.kind == messageSocket
	id, err := p.b.poller.add(j.fd, j)
	if err != nil {
		unix.Close(j.fd)
		j.st.Reset(err)
		return err
	}
	j.id = id
	j.out = running
	p.b.joints.Add(1)
	p.mu.Lock()
	p.joints[j] = struct{}{}
	p.mu.Unlock()
	j.mu.Lock()
	j.in = parked
	if j.kind == writeEnd {
		j.in = watching
	}
	j.armLocked()
	j.mu.Unlock()
	go j.moveOut()
	return nil
}

// armLocked asks the poller for what the directions wait for.
func (j *joint) armLocked() {
	var events uint32
	if j.in == parked {
		events |= eventRead
	}
	if j.waiting != nil {
		events |= eventWrite
	}
	if !j.finished && (events != 0 || j.in == watching) {
		j.peer.b.poller.arm(j.fd, j.id, events)
	}
}

// ready is the poller's call.
func (j *joint) ready(events uint32) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.finished {
		return
	}
	if events&(eventWrite|eventGone) != 0 {
		j.wakeLocked()
	}
	switch {
	case j.in == parked && events&(eventRead|eventGone) != 0:
		j.in = running
		go j.moveIn()
	case j.in == watching && events&eventGone != 0:
		j.in = running
		go j.localGone()
	}
	j.armLocked()
}

func (j *joint) wakeLocked() {
	if j.waiting != nil {
		close(j.waiting)
		j.waiting = nil
	}
}

// pause ends the goroutine of in until the descriptor has something.
func (j *joint) pause(p progress) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken {
		j.endLocked(&j.in)
		return
	}
	j.in = p
	j.armLocked()
}

// end is one direction's end. When both have ended, so has the joint.
func (j *joint) end(direction *progress) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.endLocked(direction)
}

func (j *joint) endLocked(direction *progress) {
	*direction = ended
	if j.in != ended || j.out != ended || j.finished {
		return
	}
	j.finished = true
	j.peer.b.poller.remove(j.fd, j.id)
	unix.Close(j.fd)
	j.st.Close()
	j.peer.mu.Lock()
	delete(j.peer.joints, j)
	j.peer.mu.Unlock()
	if j.kept != nil {
		j.kept.end()
	}
	if j.peer.b.joints.Add(-1) == 0 {
		go j.peer.b.retire()
	}
	if j.onEnd != nil {
		go j.onEnd()
	}
}

// stop makes both directions end without moving anything more.
func (j *joint) stop() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.broken = true
	j.wakeLocked()
	if j.in == parked || j.in == watching {
		j.endLocked(&j.in)
	}
}

// fail gives the joint up and tells the peer why.
func (j *joint) fail(err error) {
	j.peer.b.log.Debug("bridged connection given up", "error", err)
	j.st.Reset(err)
	j.stop()
}

func (j *joint) isBroken() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.broken
}

// moveIn moves what the descriptor has to the peer.
func (j *joint) moveIn() {
	s := takeScratch()
	defer s.release()
	for {
		if j.isBroken() {
			j.end(&j.in)
			return
		}
		n, err := j.receive(s)
		switch {
		case errors.Is(err, unix.EAGAIN):
			j.pause(parked)
			return
		case errors.Is(err, errNoMore):
			j.noMore()
			return
		case err != nil:
			j.unreadable(err)
			return
		}
		if err := j.forward(s, n); err != nil {
			// The other direction learns from the stream itself what has become of it.
			j.end(&j.in)
			return
		}
		if n < len(s.data)-wire.HeaderSize && j.kind != messageSocket {
			// There was no more just now.
			j.pause(parked)
			return
		}
	}
}

// forward sends what receive got.
func (j *joint) forward(s *scratch, n int) error {
	frame, err := j.peer.frame(s, n, j.keeper)
	if err != nil {
		_ = j.send(wire.FrameRefused, []byte(err.Error()))
		j.fail(err)
		return err
	}
	_, err = j.st.Write(frame)
	return err
}

// frame returns the frame for what was received, the streams of its descriptors
// being open.
func (p *peer) frame(s *scratch, n int, keeper func() *keeper) ([]byte, error) {
	if len(s.files) == 0 {
		wire.PutHeader(s.data, wire.FrameData, n)
		return s.data[:wire.HeaderSize+n], nil
	}
	files := s.files
	s.files = nil
	list, err := p.export(files, keeper())
	if err == nil {
		payload := wire.Files{List: list, Data: s.data[wire.HeaderSize : wire.HeaderSize+n]}.Encode()
		if len(payload) <= wire.MaxPayload {
			return wire.AppendFrame(nil, wire.FrameFiles, payload), nil
		}
		err = fmt.Errorf("message of %d bytes with its %d descriptors, more than %d", len(payload), len(list), wire.MaxPayload)
	}
	p.b.noteProblem(err)
	return nil, err
}

func (j *joint) send(t wire.FrameType, payload []byte) error {
	_, err := j.st.Write(wire.AppendFrame(nil, t, payload))
	return err
}

// noMore is the end of what the descriptor gives.
func (j *joint) noMore() {
	if j.kind == readEnd || j.kind == terminalEnd || isGone(j.fd) {
		j.localGone()
		return
	}
	if err := j.send(wire.FrameShutWrite, nil); err != nil {
		j.end(&j.in)
		return
	}
	j.pause(watching)
}

// localGone tells the peer that nobody here is at the other end any more.
func (j *joint) localGone() {
	j.mu.Lock()
	j.broken = true // for out: what it still has is for nobody
	j.wakeLocked()
	j.mu.Unlock()
	_ = j.send(wire.FrameClose, nil)
	j.st.Close()
	j.end(&j.in)
}

// unreadable is the end of a descriptor that fails.
func (j *joint) unreadable(err error) {
	if errors.Is(err, unix.ECONNRESET) {
		j.localGone()
		return
	}
	j.fail(fmt.Errorf("read from bridged socket: %w", err))
	j.end(&j.in)
}

// isGone reports whether the other end of a socket is closed, not only shut down
// for writing.
func isGone(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd)}}
	for {
		_, err := unix.Poll(p, 0)
		if err != unix.EINTR {
			return p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
		}
	}
}
