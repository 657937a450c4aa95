// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// events of a descriptor.
const (
	eventRead  = unix.EPOLLIN | unix.EPOLLRDHUP
	eventWrite = unix.EPOLLOUT
	// eventGone comes without being asked for: nobody is at the other end.
	eventGone = unix.EPOLLHUP | unix.EPOLLERR
)

// watched is a descriptor that the poller watches.
type watched interface {
	// ready is told what has come, once for each arm. It must not block.
	ready(events uint32)
}

// poller watches descriptors without a goroutine for each. It has one, which waits
// in Go's own poller for the epoll instance to have something.
type poller struct {
	file *os.File

	mu   sync.Mutex
	last uint64
	all  map[uint64]watched
	done chan struct{}
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make epoll instance: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make epoll instance: %w", err)
	}
	p := &poller{file: os.NewFile(uintptr(fd), "epoll"), all: make(map[uint64]watched), done: make(chan struct{})}
	go p.run()
	return p, nil
}

// add begins to watch fd, unarmed, and returns what arm and remove take.
func (p *poller) add(fd int, w watched) (uint64, error) {
	p.mu.Lock()
	p.last++
	id := p.last
	p.all[id] = w
	p.mu.Unlock()
	if err := p.control(unix.EPOLL_CTL_ADD, fd, id, unix.EPOLLONESHOT); err != nil {
		p.forget(id)
		return 0, fmt.Errorf("watch descriptor: %w", err)
	}
	return id, nil
}

// arm asks for the next of events, once. It replaces an earlier arm.
func (p *poller) arm(fd int, id uint64, events uint32) {
	// It can only fail if the descriptor isn't watched, which its owner rules out.
	_ = p.control(unix.EPOLL_CTL_MOD, fd, id, events|unix.EPOLLONESHOT)
}

// remove ends it. An event that is under way may still come.
func (p *poller) remove(fd int, id uint64) {
	_ = p.control(unix.EPOLL_CTL_DEL, fd, id, 0)
	p.forget(id)
}

func (p *poller) forget(id uint64) {
	p.mu.Lock()
	delete(p.all, id)
	p.mu.Unlock()
}

func (p *poller) control(op, fd int, id uint64, events uint32) error {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = raw.Control(func(epoll uintptr) {
		callErr = unix.EpollCtl(int(epoll), op, fd, &unix.EpollEvent{Events: events, Fd: int32(id), Pad: int32(id >> 32)})
	})
	return errors.Join(err, callErr)
}

func (p *poller) run() {
	defer close(p.done)
	raw, err := p.file.SyscallConn()
	if err != nil {
		return
	}
	var list [128]unix.EpollEvent
	for {
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), list[:], 0)
			return n > 0
		})
		if err != nil {
			return
		}
		for _, e := range list[:n] {
			p.mu.Lock()
			w := p.all[uint64(uint32(e.Fd))|uint64(uint32(e.Pad))<<32]
			p.mu.Unlock()
			if w != nil {
				w.ready(e.Events)
			}
		}
	}
}

func (p *poller) close() {
	p.file.Close()
	<-p.done
}
