// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/framing"
	"github.com/container-offload/offload/remotefs/wire"
)

const (
	// rootNode is the node of what the client has mounted. It lives as long
	// as the session.
	rootNode = 1
	// helloTimeout bounds how long a client may take to say what it wants.
	helloTimeout = 30 * time.Second
	// maxPrefetch bounds the content that goes with the reply to an open, in
	// bytes.
	maxPrefetch = 64 << 10
)

// session is one client. Its maps are protected by mu.
type session struct {
	srv    *Server
	conn   net.Conn
	in     *framing.Receiver
	out    *framing.Sender
	single bool // one export is mounted, not the directory of all
	root   *export
	turn   *turn

	running  sync.WaitGroup
	requests *semaphore.Weighted // of requests
	bytes    *semaphore.Weighted // of data

	mu         sync.Mutex
	nodes      map[uint64]*node
	byKey      map[nodeKey]*node
	handles    map[uint64]*handle
	locks      map[lockKey]*lockFile
	waiting    map[uint32]context.CancelFunc // requests that may wait
	lastNode   uint64
	lastHandle uint64
	closed     bool
}

func newSession(s *Server, conn net.Conn) *session {
	return &session{
		srv: s, conn: conn, in: framing.NewReceiver(conn), out: framing.NewSender(conn),
		requests: semaphore.NewWeighted(int64(s.opts.MaxRequests)),
		bytes:    semaphore.NewWeighted(s.opts.MaxBytes),
		nodes:    map[uint64]*node{}, byKey: map[nodeKey]*node{}, handles: map[uint64]*handle{},
		locks: map[lockKey]*lockFile{}, waiting: map[uint32]context.CancelFunc{},
		lastNode: rootNode, turn: newTurn(),
	}
}

// task is one request that is worked on.
type task struct {
	id     uint32
	req    wire.Request
	rep    wire.Reply
	buf    []byte // from the pool; holds req's or rep's data
	weight int64  // of bytes, taken for buf
}

var tasks = sync.Pool{New: func() any { return new(task) }}

// run answers requests until the connection or ctx ends, and returns when the
// last one is done.
func (s *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	err := s.serve(ctx)
	cancel()
	s.conn.Close()
	stop()
	s.running.Wait()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (s *session) serve(ctx context.Context) error {
	if err := s.hello(); err != nil {
		return err
	}
	s.running.Go(func() {
		if err := s.watchMounts(ctx); err != nil {
			s.srv.log.Warn("remotefs keeps unmounted file systems busy", "error", err)
		}
	})
	ended := make(chan error, 1)
	read := func(reader int) {
		s.running.Go(func() {
			if err := s.read(ctx, reader); !errors.Is(err, errReplaced) {
				ended <- err
			}
		})
	}
	s.running.Go(func() { s.turn.watch(ctx, read) })
	read(0)
	return <-ended
}

// errReplaced ends a reader whose place another has taken.
var errReplaced = errors.New("another reads")

// read takes requests until the connection ends or another reads.
func (s *session) read(ctx context.Context, reader int) error {
	for {
		h, body, err := s.in.Next()
		if err != nil {
			return err
		}
		if h.Kind == wire.KindCancel {
			s.interrupt(h.ID)
			continue
		}
		t, err := s.receive(ctx, h, body)
		if err != nil {
			return err
		}
		if t.req.Op.OneWay() || !s.short(t) {
			if err := s.start(ctx, t); err != nil {
				return err
			}
			continue
		}
		s.turn.begin()
		s.reply(t, s.handle(ctx, &t.req, &t.rep, t.buf))
		if !s.turn.end(reader) {
			return errReplaced
		}
	}
}

// hello answers the first request, which says what the client mounts.
func (s *session) hello() error {
	_ = s.conn.SetReadDeadline(time.Now().Add(helloTimeout))
	h, body, err := s.in.Next()
	if err != nil {
		return err
	}
	_ = s.conn.SetReadDeadline(time.Time{})
	var req wire.Request
	if h.Kind != wire.KindRequest || h.Op != wire.OpHello {
		return fmt.Errorf("%w: the first frame is no hello", wire.ErrProtocol)
	}
	if err := req.ParseBody(h.Op, body); err != nil {
		return err
	}
	if req.Magic != wire.Magic || req.Version != wire.Version {
		s.refuse(h, unix.EPROTO)
		return fmt.Errorf("%w: client speaks version %d", wire.ErrProtocol, req.Version)
	}
	entry, err := s.mountRoot(req.Name)
	if err != nil {
		s.refuse(h, err)
		return fmt.Errorf("mount export %q: %w", req.Name, err)
	}
	rep := wire.Reply{Magic: wire.Magic, Version: wire.Version, Size: wire.MaxData, Entry: entry}
	_, err = s.out.Send(wire.Header{Kind: wire.KindReply, Op: h.Op, ID: h.ID}, func(b []byte) []byte { return rep.AppendBody(h.Op, b) }, nil, nil)
	return err
}

// refuse answers a hello before the connection is closed for it.
func (s *session) refuse(h wire.Header, err error) {
	_ = s.conn.SetWriteDeadline(time.Now().Add(helloTimeout))
	_, _ = s.conn.Write(wire.Header{Kind: wire.KindReply, Op: h.Op, ID: h.ID, Errno: wire.FromError(err)}.Append(nil))
}

// mountRoot makes the root node: of an export, or of all.
func (s *session) mountRoot(name string) (wire.Entry, error) {
	if name == "" {
		n := &node{id: rootNode, fd: -1, mode: unix.S_IFDIR, refs: 1}
		s.mu.Lock()
		s.nodes[rootNode] = n
		s.mu.Unlock()
		return wire.Entry{Node: rootNode, Attr: s.rootAttr()}, nil
	}
	find := s.srv.root
	if strings.HasPrefix(name, "/") {
		find = s.srv.rootAt
	}
	x, fd, err := find(name)
	if err != nil {
		return wire.Entry{}, err
	}
	s.single, s.root = true, x
	s.lastNode = rootNode - 1
	return s.enter(x, fd)
}

// receive reads what is left of a request. It waits while the client's
// requests hold as much memory as they may.
func (s *session) receive(ctx context.Context, h wire.Header, body []byte) (*task, error) {
	if h.Kind != wire.KindRequest || h.Op == wire.OpHello {
		return nil, fmt.Errorf("%w: unexpected frame of kind %d for %s", wire.ErrProtocol, h.Kind, h.Op)
	}
	if h.Data > 0 && !h.Op.RequestData() {
		return nil, fmt.Errorf("%w: %s with data", wire.ErrProtocol, h.Op)
	}
	t := tasks.Get().(*task)
	t.id = h.ID
	if err := t.req.ParseBody(h.Op, body); err != nil {
		return nil, err
	}
	need := h.Data
	switch h.Op {
	case wire.OpOpen:
		t.req.Size = min(t.req.Size, maxPrefetch)
		need = int(t.req.Size)
	case wire.OpRead, wire.OpReadDir, wire.OpGetXattr, wire.OpListXattr:
		t.req.Size = min(t.req.Size, wire.MaxData)
		need = int(t.req.Size)
	case wire.OpReadlink:
		need = wire.MaxTarget + 1
	}
	if need > 0 {
		t.weight = int64(bufferSize(need))
		if err := s.bytes.Acquire(ctx, t.weight); err != nil {
			return nil, err
		}
		t.buf = getBuffer(need)
	}
	if h.Data > 0 {
		t.req.Data = t.buf[:h.Data]
		if err := s.in.Data(t.req.Data); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// start lets a request be worked on: at once if it is short and nobody waits
// for it, else beside the others.
func (s *session) start(ctx context.Context, t *task) error {
	if t.req.Op.OneWay() {
		s.oneWay(t)
		s.free(t)
		return nil
	}
	waits := t.req.Op == wire.OpSetLock && t.req.Flags&wire.LockWait != 0
	if waits {
		// Not counted with the others, so that whoever has the lock can give
		// it back. Bounded by the table of those that wait.
		ctx, err := s.mayWait(ctx, t.id)
		if err != nil {
			s.reply(t, err)
			return nil
		}
		s.running.Go(func() {
			err := s.setLockWait(ctx, &t.req)
			s.waited(t.id)
			s.reply(t, err)
		})
		return nil
	}
	if err := s.requests.Acquire(ctx, 1); err != nil {
		return err
	}
	if t.req.Op == wire.OpLookup {
		wctx, err := s.mayWait(ctx, t.id)
		if err != nil {
			s.requests.Release(1)
			s.reply(t, err)
			return nil
		}
		ctx = wctx
	}
	s.running.Add(1)
	go s.work(ctx, t)
	return nil
}

func (s *session) work(ctx context.Context, t *task) {
	defer s.running.Done()
	err := s.handle(ctx, &t.req, &t.rep, t.buf)
	if t.req.Op == wire.OpLookup {
		s.waited(t.id)
	}
	s.requests.Release(1)
	s.reply(t, err)
}

// mayWait gives the context of a request that waits for others, until it is
// cancelled.
func (s *session) mayWait(ctx context.Context, id uint32) (context.Context, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.waiting[id]; ok || len(s.waiting) >= s.srv.opts.MaxHandles {
		return nil, unix.ENOLCK
	}
	ctx, cancel := context.WithCancel(ctx)
	s.waiting[id] = cancel
	return ctx, nil
}

func (s *session) waited(id uint32) {
	s.mu.Lock()
	cancel := s.waiting[id]
	delete(s.waiting, id)
	s.mu.Unlock()
	cancel()
}

// interrupt cancels a request if it may wait.
func (s *session) interrupt(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.waiting[id]; cancel != nil {
		cancel()
	}
}

// reply answers a request and frees it.
func (s *session) reply(t *task, err error) {
	h := wire.Header{Kind: wire.KindReply, Op: t.req.Op, ID: t.id}
	if err != nil {
		if errors.Is(err, context.Canceled) {
			err = unix.EINTR
		}
		h.Errno = wire.FromError(err)
		_, _ = s.out.Send(h, nil, nil, nil)
		s.free(t)
		return
	}
	// The connection's error is the reader's to find.
	_, _ = s.out.Send(h, func(b []byte) []byte { return t.rep.AppendBody(t.req.Op, b) }, t.rep.Data, func() { s.free(t) })
}

func (s *session) free(t *task) {
	if t.buf != nil {
		putBuffer(t.buf)
		s.bytes.Release(t.weight)
	}
	*t = task{}
	tasks.Put(t)
}

// close closes whatever the client had open. No request is worked on any more.
func (s *session) close() {
	s.out.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, n := range s.nodes {
		n.dead = true
		n.closeIfUnused()
	}
	for _, h := range s.handles {
		h.dead = true
		h.closeIfUnused()
	}
	for _, l := range s.locks {
		unix.Close(l.fd)
	}
	s.nodes, s.handles, s.locks = nil, nil, nil
}
