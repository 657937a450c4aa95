// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/policy"
	"github.com/container-offload/offload/udsbridge/bridge/wire"
)

const (
	// mirrorBacklog is the backlog of a mirror. The kernel cuts it to
	// net.core.somaxconn.
	mirrorBacklog = 4096
	// maxPending bounds the connections of a mirror that the peer has not answered
	// yet. Beyond it they wait in the backlog, as they would for the peer's program.
	maxPending = 64
	// mark is the extended attribute of a mirror's file, by which a bridge knows its
	// own and never mirrors a mirror.
	mark = "trusted.udsbridge"
)

// mirror stands at a path for a socket of the peer.
type mirror struct {
	b        *Bridge
	rule     policy.Connect
	path     string
	peerPath string
	// sock is what it stands for. Bridge.mu protects it.
	sock wire.Socket
	kind wire.SocketKind

	mu      sync.Mutex
	fd      int // -1 if the mirror is only a file, or closed
	id      uint64
	busy    bool // a goroutine accepts or receives
	pending int
	// flows are a datagram mirror's, by who sends.
	flows map[string]*flow
	done  chan struct{}
}

// begin puts the mirror at its path: a socket, or if no program has the peer's
// open, only the file of one, so that connect(2) gives ECONNREFUSED.
func (m *mirror) begin() error {
	if err := m.clear(); err != nil {
		return err
	}
	m.kind = m.sock.Kind
	kind := socketTypes[m.kind]
	if !m.sock.Live {
		kind = unix.SOCK_STREAM
	}
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	if err := m.put(fd); err != nil {
		unix.Close(fd)
		return err
	}
	if !m.sock.Live {
		unix.Close(fd)
		return nil
	}
	if err := m.listen(fd); err != nil {
		unix.Close(fd)
		m.removeFile()
		return err
	}
	return nil
}

// clear removes what a dead program has left at the path.
func (m *mirror) clear() error {
	if m.abstract() {
		return nil
	}
	info, err := os.Lstat(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", m.path, err)
	}
	if info.Mode().Type() != fs.ModeSocket || !isDead(m.path) {
		return fmt.Errorf("%s is taken by something of this machine", m.path)
	}
	if err := os.Remove(m.path); err != nil {
		return fmt.Errorf("remove old socket: %w", err)
	}
	return nil
}

// put binds the socket to the path, with the owner and the mode of the peer's.
func (m *mirror) put(fd int) error {
	// bind(2) takes the mode from the socket, so nobody gets in before the owner is
	// set.
	if err := unix.Fchmod(fd, 0); err != nil {
		return fmt.Errorf("mode of socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: m.path}); err != nil {
		return fmt.Errorf("bind to %s: %w", m.path, err)
	}
	if m.abstract() {
		return nil
	}
	// A failure leaves a mirror without the mark, for file systems that have none; it
	// only is not recognised after a crash.
	_ = unix.Lsetxattr(m.path, mark, []byte{1}, 0)
	if err := m.own(); err != nil {
		m.removeFile()
		return err
	}
	return nil
}

// own gives the mirror's file the owner and the mode of the peer's.
func (m *mirror) own() error {
	err := os.Lchown(m.path, int(m.sock.UID), int(m.sock.GID))
	if errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
		err = nil // the socket is ours then, which is all we can give
	}
	if err == nil {
		err = os.Chmod(m.path, fs.FileMode(m.sock.Mode))
	}
	if err != nil {
		return fmt.Errorf("owner and mode of %s: %w", m.path, err)
	}
	return nil
}

// listen makes the mirror answer.
func (m *mirror) listen(fd int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kind == wire.Datagram {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
			return fmt.Errorf("ask for credentials: %w", err)
		}
	} else {
		if err := m.listenAs(fd); err != nil {
			return err
		}
	}
	id, err := m.b.poller.add(fd, m)
	if err != nil {
		return err
	}
	m.fd, m.id = fd, id
	m.done = make(chan struct{})
	if m.kind == wire.Datagram {
		m.flows = make(map[string]*flow)
		go m.expireFlows()
	}
	m.armLocked()
	return nil
}

// listenAs listens as the owner of the peer's socket, which is what programs here
// get as SO_PEERCRED.
func (m *mirror) listenAs(fd int) error {
	who := wire.Credentials{UID: m.sock.UID, GID: m.sock.GID, Groups: []uint32{m.sock.GID}}
	if err := as(who, func() error { return unix.Listen(fd, mirrorBacklog) }); err != nil {
		return fmt.Errorf("listen on %s: %w", m.path, err)
	}
	return nil
}

// adjust follows a change of owner and mode. It reports false if the peer's socket
// has changed otherwise, or if that fails.
func (m *mirror) adjust(now wire.Socket) bool {
	if now.Kind != m.sock.Kind || now.Live != m.sock.Live || m.abstract() {
		return false
	}
	m.sock = now
	if err := m.own(); err != nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fd < 0 || m.kind == wire.Datagram || m.listenAs(m.fd) == nil
}

func (m *mirror) abstract() bool { return strings.HasPrefix(m.path, "@") }

func (m *mirror) armLocked() {
	if m.fd >= 0 && !m.busy && m.pending < maxPending {
		m.b.poller.arm(m.fd, m.id, unix.EPOLLIN)
	}
}

// ready is the poller's call.
func (m *mirror) ready(uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fd < 0 || m.busy {
		return
	}
	m.busy = true
	if m.kind == wire.Datagram {
		go m.receiveAll()
	} else {
		go m.acceptAll()
	}
}

// rest ends the goroutine that ready has begun.
func (m *mirror) rest() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy = false
	m.armLocked()
}

// acceptAll takes the connections that wait.
func (m *mirror) acceptAll() {
	defer m.rest()
	for {
		fd, ok := m.acceptOne()
		if !ok {
			return
		}
		if err := m.lead(fd); err != nil {
			m.b.log.Debug("bridge: lead connection to the peer", "path", m.path, "error", err)
		}
	}
}

func (m *mirror) acceptOne() (int, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fd < 0 || m.pending >= maxPending {
		return -1, false
	}
	fd, _, err := unix.Accept4(m.fd, unix.SOCK_CLOEXEC)
	if err != nil {
		return -1, false
	}
	m.pending++
	return fd, true
}

// lead joins a connection with the peer's socket. While the link is down it waits.
func (m *mirror) lead(fd int) error {
	who, err := peerOf(fd)
	if err != nil {
		unix.Close(fd)
		m.answered()
		return err
	}
	p := m.b.currentPeer()
	if p == nil {
		unix.Close(fd)
		m.answered()
		return errors.New("there is no peer")
	}
	c := wire.Connect{Kind: m.kind, Path: m.peerPath, Who: who}
	st, err := p.open(wire.ServiceConnect, c.Encode())
	if err != nil {
		unix.Close(fd)
		m.answered()
		return err
	}
	k := messageSocket
	if m.kind == wire.Stream {
		k = byteSocket
	}
	var once sync.Once
	answered := func() { once.Do(m.answered) }
	return p.join(&joint{
		st: st, fd: fd, kind: k, onEnd: answered,
		onReply: func(r wire.Reply) {
			answered()
			if r.Errno != 0 {
				m.b.log.Debug("bridge: the peer refused a connection", "path", m.path, "pid", who.PID, "reason", r.Reason)
			}
		},
	})
}

// answered says that the peer has answered one connection.
func (m *mirror) answered() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending--
	m.armLocked()
}

// currentPeer returns the peer that connections go to, or nil.
func (b *Bridge) currentPeer() *peer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.current
}

// close stops to answer. The file is removed if asked for, else it stays and
// connect(2) gives ECONNREFUSED.
func (m *mirror) close(remove bool) {
	m.mu.Lock()
	if m.fd >= 0 {
		m.b.poller.remove(m.fd, m.id)
		unix.Close(m.fd)
		m.fd = -1
		close(m.done)
	}
	flows := m.flows
	m.flows = nil
	m.mu.Unlock()
	for _, f := range flows {
		f.close()
	}
	if remove {
		m.removeFile()
	}
}

func (m *mirror) removeFile() {
	if m.abstract() {
		return
	}
	if err := os.Remove(m.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.b.log.Warn("bridge: remove mirror", "error", err)
	}
}

// isMirror reports whether a bridge has made the socket, or the directory.
func isMirror(path string) bool {
	var b [1]byte
	_, err := unix.Lgetxattr(path, mark, b[:])
	return err == nil
}

// isDead reports whether no program has the socket open.
func isDead(path string) bool {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return !alive(fd)
}
