// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/policy"
	"github.com/container-offload/offload/udsbridge/bridge/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

const (
	// claimTimeout bounds how far the stream of a descriptor and the message that
	// passes it may be apart.
	claimTimeout = 30 * time.Second
	// maxArrived bounds the streams of descriptors that no message has named yet.
	maxArrived = 4096
)

// export makes descriptors ready for the peer and returns what to tell it. The
// descriptors are the callee's, on error too.
func (p *peer) export(fds []int, k *keeper) ([]wire.File, error) {
	list := make([]wire.File, 0, len(fds))
	// All are judged before anything is begun, so that a message with one that can't
	// be passed has no effect.
	for _, fd := range fds {
		facts, err := factsOf(fd)
		if err == nil {
			var f wire.File
			f, err = policy.Transfer(facts, p.peerDirs())
			if err == nil && f.Kind == wire.FileServed && p.b.files == nil {
				err = &policy.UnpassableError{Name: facts.Name, Reason: "files are not served here"}
			}
			list = append(list, f)
		}
		if err != nil {
			closeAll(fds)
			return nil, err
		}
	}
	for i, fd := range fds {
		if err := p.offer(&list[i], fd, k); err != nil {
			closeAll(fds[i+1:])
			return nil, err
		}
	}
	return list, nil
}

// offer begins to move for one descriptor, which is its own.
func (p *peer) offer(f *wire.File, fd int, k *keeper) error {
	if f.Kind == wire.FilePath || f.Kind == wire.FileDevice {
		unix.Close(fd)
		return nil
	}
	f.Token = p.lastToken.Add(1)
	st, err := p.open(wire.ServiceFile, wire.EncodeToken(f.Token))
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("pass descriptor: %w", err)
	}
	switch f.Kind {
	case wire.FilePipe:
		end, flags := readEnd, unix.O_RDONLY
		if f.Write {
			end, flags = writeEnd, unix.O_WRONLY
		}
		own, err := reopen(fd, flags|unix.O_NONBLOCK)
		unix.Close(fd)
		if err != nil {
			st.Reset(err)
			return err
		}
		return p.join(&joint{st: st, fd: own, kind: end})
	case wire.FileSocket:
		return p.join(&joint{st: st, fd: fd, kind: socketJoint(f.Socket)})
	case wire.FileContent:
		go sendContent(st, fd, int64(f.Size))
		return nil
	case wire.FileTerminal:
		return p.offerTerminal(st, f, fd)
	case wire.FileEvent:
		c, err := p.count(st, fd, f.Semaphore)
		if err == nil {
			k.keep(c.close)
		}
		return err
	case wire.FileServed:
		go p.b.files.Offer(p.ctx, st, os.NewFile(uintptr(fd), f.Path), !f.Write && !f.Directory)
		return nil
	default:
		unix.Close(fd)
		err := fmt.Errorf("pass descriptor of kind %d: %w", f.Kind, errors.ErrUnsupported)
		st.Reset(err)
		return err
	}
}

func socketJoint(k wire.SocketKind) kind {
	if k == wire.Stream {
		return byteSocket
	}
	return messageSocket
}

// reopen opens the file of a descriptor anew, so that flags such as O_NONBLOCK are
// not those of everybody who has the descriptor.
func reopen(fd, flags int) (int, error) {
	own, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return -1, fmt.Errorf("open descriptor anew: %w", err)
	}
	return own, nil
}

// accept makes the descriptors that the peer passes. They are the caller's, and
// none on error.
func (p *peer) accept(list []wire.File, k *keeper) ([]int, error) {
	var fds []int
	for i, f := range list {
		fd, err := p.take(f, k)
		if err != nil {
			closeAll(fds)
			p.drop(list[i+1:])
			return nil, err
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// drop gives up the streams of descriptors that will not be made.
func (p *peer) drop(list []wire.File) {
	for _, f := range list {
		if f.Kind == wire.FilePath || f.Kind == wire.FileDevice {
			continue
		}
		if st, err := p.claim(f.Token); err == nil {
			st.Reset(errors.New("descriptor is not taken"))
		}
	}
}

// take makes one descriptor.
func (p *peer) take(f wire.File, k *keeper) (int, error) {
	switch f.Kind {
	case wire.FilePath:
		return openShared(p.b.dirs, f)
	case wire.FileDevice:
		return openDevice(f)
	}
	st, err := p.claim(f.Token)
	if err != nil {
		return -1, err
	}
	switch f.Kind {
	case wire.FilePipe:
		return p.takePipe(st, f)
	case wire.FileSocket:
		return p.takeSocket(st, f)
	case wire.FileContent:
		return receiveContent(st, f)
	case wire.FileTerminal:
		return p.takeTerminal(st, f)
	case wire.FileEvent:
		return p.takeEvent(st, f, k)
	case wire.FileServed:
		return p.takeServed(st, f)
	default:
		err := fmt.Errorf("descriptor of kind %d: %w", f.Kind, errors.ErrUnsupported)
		st.Reset(err)
		return -1, err
	}
}

func (p *peer) takePipe(st *session.Stream, f wire.File) (int, error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		st.Reset(err)
		return -1, fmt.Errorf("make pipe: %w", err)
	}
	theirs, ours, k := ends[0], ends[1], writeEnd
	if f.Write {
		theirs, ours, k = ends[1], ends[0], readEnd
	}
	if err := errors.Join(unix.SetNonblock(ours, true), unix.SetNonblock(theirs, f.NonBlock)); err != nil {
		closeAll(ends[:])
		st.Reset(err)
		return -1, fmt.Errorf("set up pipe: %w", err)
	}
	if err := p.join(&joint{st: st, fd: ours, kind: k}); err != nil {
		unix.Close(theirs)
		return -1, err
	}
	return theirs, nil
}

func (p *peer) takeSocket(st *session.Stream, f wire.File) (int, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, socketTypes[f.Socket]|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		st.Reset(err)
		return -1, fmt.Errorf("make socket pair: %w", err)
	}
	if err := unix.SetNonblock(ends[0], f.NonBlock); err != nil {
		closeAll(ends[:])
		st.Reset(err)
		return -1, fmt.Errorf("set up socket pair: %w", err)
	}
	if err := p.join(&joint{st: st, fd: ends[1], kind: socketJoint(f.Socket)}); err != nil {
		unix.Close(ends[0])
		return -1, err
	}
	return ends[0], nil
}

// fileArrived takes the stream of a passed descriptor.
func (p *peer) fileArrived(_ context.Context, st *session.Stream) {
	token, err := wire.ParseToken(st.Header())
	if err != nil {
		st.Reset(err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ch, ok := p.awaited[token]; ok {
		delete(p.awaited, token)
		ch <- st
		return
	}
	if _, twice := p.arrived[token]; twice || len(p.arrived) >= maxArrived {
		st.Reset(errors.New("too many descriptors, or one twice"))
		return
	}
	p.arrived[token] = st
	time.AfterFunc(claimTimeout, func() { p.forget(token, st) })
}

// forget gives up a stream that no message has named.
func (p *peer) forget(token uint64, st *session.Stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.arrived[token] == st {
		delete(p.arrived, token)
		st.Reset(errors.New("no message has passed the descriptor"))
	}
}

// claim returns the stream of a descriptor.
func (p *peer) claim(token uint64) (*session.Stream, error) {
	p.mu.Lock()
	if st, ok := p.arrived[token]; ok {
		delete(p.arrived, token)
		p.mu.Unlock()
		return st, nil
	}
	if _, twice := p.awaited[token]; twice {
		p.mu.Unlock()
		return nil, errors.New("descriptor is passed twice")
	}
	ch := make(chan *session.Stream, 1)
	p.awaited[token] = ch
	p.mu.Unlock()
	timeout := time.NewTimer(claimTimeout)
	defer timeout.Stop()
	select {
	case st := <-ch:
		return st, nil
	case <-p.s.Done():
		return nil, p.s.Err()
	case <-timeout.C:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.awaited, token)
	select {
	case st := <-ch:
		return st, nil
	default:
		return nil, errors.New("stream of the descriptor has not come")
	}
}

// peerDirs returns what the peer opens by path.
func (p *peer) peerDirs() []string {
	select {
	case <-p.helloed:
	case <-p.s.Done():
	case <-time.After(time.Second):
		// It has not said yet: then nothing.
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.theirs.Dirs
}
