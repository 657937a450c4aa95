// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/wire"
)

// errOver ends out: the peer has said its last.
var errOver = errors.New("over")

// moveOut moves what the peer sends to the descriptor, until the stream has
// nothing more just now.
func (j *joint) moveOut() {
	for j.st.AwaitReadable(j.moveOut) {
		if err := j.moveSome(); err != nil {
			j.outEnds(err)
			return
		}
	}
}

// moveSome moves what has arrived, up to one buffer.
func (j *joint) moveSome() error {
	s := takeScratch()
	defer s.release()
	n, err := j.st.Read(s.data)
	if err != nil {
		return err
	}
	for p := s.data[:n]; len(p) > 0; {
		f, ok, rest, err := j.dec.Next(p)
		if err != nil {
			return err
		}
		if ok {
			if err := j.take(f); err != nil {
				return err
			}
		}
		p = rest
	}
	return nil
}

// outEnds ends out, and in with it unless the peer only shut down its half.
func (j *joint) outEnds(err error) {
	switch {
	case errors.Is(err, errOver), j.isBroken():
	case errors.Is(err, io.EOF):
		j.fail(errors.New("peer ended the connection without a word"))
	default:
		j.fail(err)
	}
	j.stop()
	j.end(&j.out)
}

// take does what a frame says.
func (j *joint) take(f wire.Frame) error {
	if j.onReply != nil {
		return j.takeReply(f)
	}
	switch f.Type {
	case wire.FrameData:
		return j.deliver(f.Payload, nil)
	case wire.FrameFiles:
		return j.takeFiles(f.Payload)
	case wire.FrameShutWrite:
		j.shutdown(unix.SHUT_WR)
		return nil
	case wire.FrameShutRead:
		if j.kind == readEnd {
			return errOver
		}
		j.shutdown(unix.SHUT_RD)
		return nil
	case wire.FrameTerminal:
		return j.follow(f.Payload)
	case wire.FrameClose:
		return errOver
	case wire.FrameRefused:
		err := fmt.Errorf("peer: %s", wire.Printable(string(f.Payload[:min(len(f.Payload), 1024)])))
		j.peer.b.noteProblem(err)
		return err
	default:
		return fmt.Errorf("%w: frame of type %d in a connection", wire.ErrMalformed, f.Type)
	}
}

func (j *joint) takeReply(f wire.Frame) error {
	if f.Type != wire.FrameReply {
		return fmt.Errorf("%w: frame of type %d instead of a reply", wire.ErrMalformed, f.Type)
	}
	r, err := wire.ParseReply(f.Payload)
	if err != nil {
		return err
	}
	j.onReply(r)
	j.onReply = nil
	if r.Errno != 0 {
		return fmt.Errorf("peer: %s: %w", r.Reason, r.Errno)
	}
	return nil
}

func (j *joint) takeFiles(payload []byte) error {
	if j.kind != byteSocket && j.kind != messageSocket {
		return fmt.Errorf("%w: descriptors for a pipe", wire.ErrMalformed)
	}
	m, err := wire.ParseFiles(payload)
	if err != nil {
		return err
	}
	fds, err := j.peer.accept(m.List, j.keeper())
	if err != nil {
		err = fmt.Errorf("take descriptors of the peer: %w", err)
		j.peer.b.noteProblem(err)
		_ = j.send(wire.FrameRefused, []byte(err.Error()))
		return err
	}
	defer closeAll(fds)
	return j.deliver(m.Data, fds)
}

func (j *joint) shutdown(how int) {
	// It fails if the program has closed its end, which in will tell.
	_ = unix.Shutdown(j.fd, how)
}

// deliver writes bytes or one message to the descriptor, with descriptors.
func (j *joint) deliver(b []byte, fds []int) error {
	if len(b) == 0 && j.kind == terminalEnd {
		return j.endOfInput()
	}
	if len(b) == 0 && j.kind != messageSocket {
		return nil
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for {
		n, err := j.write(b, oob)
		switch {
		case err == nil:
			b, oob = b[n:], nil
			if len(b) == 0 || j.kind == messageSocket {
				return nil
			}
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
			if err := j.awaitRoom(); err != nil {
				return err
			}
		case errors.Is(err, unix.EMSGSIZE):
			if err := growSendBuffer(j.fd, len(b)); err != nil {
				return err
			}
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EIO):
			return j.unwanted()
		default:
			return fmt.Errorf("write to bridged descriptor: %w", err)
		}
	}
}

func (j *joint) write(b, oob []byte) (int, error) {
	switch j.kind {
	case writeEnd:
		return unix.Write(j.fd, b)
	case terminalEnd:
		return j.writeTerminal(b)
	}
	return unix.SendmsgN(j.fd, b, oob, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// awaitRoom waits until the descriptor takes more.
func (j *joint) awaitRoom() error {
	j.mu.Lock()
	if j.broken {
		j.mu.Unlock()
		return errOver
	}
	room := make(chan struct{})
	j.waiting = room
	j.armLocked()
	j.mu.Unlock()
	<-room
	return nil
}

// unwanted tells the peer that nobody reads here any more. If the program has
// closed its end, in says so instead.
func (j *joint) unwanted() error {
	if j.kind == writeEnd || j.kind == terminalEnd || isGone(j.fd) {
		return nil
	}
	return j.send(wire.FrameShutRead, nil)
}

// growSendBuffer makes room for a message that is larger than the socket's buffer.
func growSendBuffer(fd, size int) error {
	now, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return fmt.Errorf("send buffer of bridged socket: %w", err)
	}
	// The kernel doubles the value, and needs some for itself.
	want := size + 4096
	if now >= 2*want {
		return fmt.Errorf("message of %d bytes does not fit into the socket's buffer: %w", size, unix.EMSGSIZE)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, want); err != nil {
		return fmt.Errorf("grow send buffer of bridged socket for a message of %d bytes: %w", size, err)
	}
	return nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
