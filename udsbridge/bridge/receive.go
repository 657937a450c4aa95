// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/wire"
)

// errNoMore says that a descriptor is at its end.
var errNoMore = errors.New("no more")

// scratch is what one round of moving needs. Idle joints have none.
type scratch struct {
	data []byte // begins with room for a frame's header
	oob  []byte
	// files are the descriptors that came with what was received.
	files []int
}

const scratchData = wire.HeaderSize + 64<<10

var scratches = sync.Pool{New: func() any {
	return &scratch{
		data: make([]byte, scratchData),
		oob:  make([]byte, unix.CmsgSpace(4*wire.MaxFiles)+unix.CmsgSpace(unix.SizeofUcred)),
	}
}}

func takeScratch() *scratch { return scratches.Get().(*scratch) }

func (s *scratch) release() {
	closeAll(s.files)
	s.files = nil
	if len(s.data) == scratchData {
		scratches.Put(s)
	}
}

// receive takes what the descriptor has into s, behind the room for a header.
func (j *joint) receive(s *scratch) (int, error) {
	for {
		n, err := j.receiveOnce(s)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func (j *joint) receiveOnce(s *scratch) (int, error) {
	switch j.kind {
	case readEnd:
		n, err := unix.Read(j.fd, s.data[wire.HeaderSize:])
		if err == nil && n == 0 {
			err = errNoMore
		}
		return max(n, 0), err
	case terminalEnd:
		return j.receiveTerminal(s.data[wire.HeaderSize:])
	case messageSocket:
		if err := s.fit(j.fd); err != nil {
			return 0, err
		}
	}
	n, oobn, flags, _, err := unix.Recvmsg(j.fd, s.data[wire.HeaderSize:], s.oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return 0, err
	}
	if oobn > 0 {
		if err := s.takeFiles(s.oob[:oobn], flags); err != nil {
			return 0, err
		}
	}
	if n == 0 && len(s.files) == 0 && j.atEnd() {
		return 0, errNoMore
	}
	return n, nil
}

// fit makes room for the next message, whose size it asks for.
func (s *scratch) fit(fd int) error {
	n, _, _, _, err := unix.Recvmsg(fd, nil, nil, unix.MSG_PEEK|unix.MSG_TRUNC|unix.MSG_DONTWAIT) //nolint:dogsled // the other results are of no use
	if err != nil {
		return err
	}
	if n > wire.MaxPayload {
		return fmt.Errorf("message of %d bytes, more than the %d that can be bridged", n, wire.MaxPayload)
	}
	if n > len(s.data)-wire.HeaderSize {
		s.data = make([]byte, wire.HeaderSize+n)
	}
	return nil
}

// takeFiles takes descriptors out of control messages.
func (s *scratch) takeFiles(oob []byte, flags int) error {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("control message of bridged socket: %w", err)
	}
	for i := range messages {
		m := &messages[i]
		if m.Header.Level != unix.SOL_SOCKET || m.Header.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, err := unix.ParseUnixRights(m)
		if err != nil {
			return fmt.Errorf("descriptors of bridged socket: %w", err)
		}
		s.files = append(s.files, fds...)
	}
	if flags&unix.MSG_CTRUNC != 0 {
		return errors.New("descriptors of bridged socket were cut off: too many files are open here")
	}
	return nil
}

// atEnd tells the end from a message without bytes.
func (j *joint) atEnd() bool {
	if j.kind == byteSocket {
		return true
	}
	p := []unix.PollFd{{Fd: int32(j.fd), Events: unix.POLLRDHUP}}
	for {
		_, err := unix.Poll(p, 0)
		if err != unix.EINTR {
			return p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP) != 0
		}
	}
}
