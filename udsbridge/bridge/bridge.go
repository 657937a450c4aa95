// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/container-offload/offload/udsbridge/bridge/hook"
	"github.com/container-offload/offload/udsbridge/bridge/policy"
	"github.com/container-offload/offload/udsbridge/bridge/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// Options say what a bridge does.
type Options struct {
	// Connect are the paths here that live on the peer.
	Connect []policy.Connect
	// Serve are the paths here that the peer may reach.
	Serve []policy.Serve
	// Dirs are the directories here whose files are opened by path when the peer
	// passes a descriptor of its mount of them.
	Dirs []string
	// Runtime is a directory for what outlives no reboot. It is made if need be.
	Runtime string
	// Files serves descriptors of files that the peer does not have. Without it they
	// can't be passed.
	Files FileServer
	// Logger gets connections at debug level and what goes wrong at warn level. nil
	// discards it.
	Logger *slog.Logger
}

// FileServer serves files of this machine to the peer and opens the peer's here. Its
// methods may be called concurrently.
type FileServer interface {
	// Offer serves a file or directory on conn until that or ctx ends. Both are its
	// own.
	Offer(ctx context.Context, conn net.Conn, file *os.File, readOnly bool)
	// Take opens, with flags of open(2), what the peer's Offer serves on conn, by way
	// of path, at which nothing is. When nobody has the file open any more, conn is
	// closed and nothing is at path again.
	Take(ctx context.Context, conn net.Conn, path string, flags int) (fd int, err error)
}

// Bridge is this machine's side of the bridge. Its methods may be called
// concurrently.
type Bridge struct {
	log     *slog.Logger
	runtime string
	dirs    []string
	hello   wire.Hello
	files   FileServer
	poller  *poller
	joints  atomic.Int64
	points  atomic.Uint64 // mount points that were made

	mu      sync.Mutex
	serve   []policy.Serve
	connect []*prefix
	peers   []*peer
	current *peer      // the latest that serves, or nil
	hook    *hook.Hook // nil until a rule needs one
	problem string
	closed  bool
}

// New makes a bridge without a peer. Close it.
func New(o Options) (*Bridge, error) {
	if err := policy.Validate(o.Connect, o.Serve); err != nil {
		return nil, fmt.Errorf("rules of the bridge: %w", err)
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p, err := newPoller()
	if err != nil {
		return nil, fmt.Errorf("start bridge: %w", err)
	}
	b := &Bridge{log: log, runtime: o.Runtime, dirs: o.Dirs, files: o.Files, poller: p, serve: slices.Clone(o.Serve)}
	b.hello = helloOf(o)
	if err := b.clearRuntime(); err != nil {
		p.close()
		return nil, fmt.Errorf("start bridge: %w", err)
	}
	for _, c := range o.Connect {
		if err := b.AddConnect(c); err != nil {
			b.Close()
			return nil, err
		}
	}
	return b, nil
}

// helloOf returns what a bridge says of itself.
func helloOf(o Options) wire.Hello {
	// Without an id, bridges of machines without one count as the same if their
	// runtime directories are.
	id, _ := os.ReadFile("/etc/machine-id")
	return wire.Hello{
		Version: wire.Version, Name: strings.TrimSpace(string(id)) + " " + o.Runtime,
		Instance: rand.Uint64(), Dirs: o.Dirs,
	}
}

// Serve serves a peer's connections on a session, and leads programs here to that
// peer, until the session or ctx ends. Of several sessions at once, all are served
// and the latest gets the connections from here. The session is not closed.
func (b *Bridge) Serve(ctx context.Context, s *session.Session) error {
	p, err := b.attach(s)
	if err != nil {
		return err
	}
	defer b.detach(p)
	return p.serve(ctx)
}

func (b *Bridge) attach(s *session.Session) (*peer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errors.New("bridge is closed")
	}
	p := newPeer(b, s)
	b.peers = append(b.peers, p)
	b.current = p
	return p, nil
}

// detach takes a peer away. Without another one, nobody answers at the mirrors.
func (b *Bridge) detach(p *peer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.peers = slices.DeleteFunc(b.peers, func(o *peer) bool { return o == p })
	if b.current != p {
		return
	}
	b.current = nil
	for _, x := range b.connect {
		x.silence()
	}
}

// Close stops to listen and removes what the bridge has put into directories.
// Connections end with their sessions.
func (b *Bridge) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	for _, x := range b.connect {
		x.remove()
	}
	b.connect = nil
	err := b.unhook()
	go b.retire()
	return err
}

// retire ends the poller of a closed bridge whose last connection has ended.
func (b *Bridge) retire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed && b.joints.Load() == 0 {
		b.poller.close()
	}
}

// AddConnect adds a rule of the connecting side.
func (b *Bridge) AddConnect(c policy.Connect) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := policy.Validate(append(b.connectRules(), c), b.serve); err != nil {
		return fmt.Errorf("add rule for %s: %w", c.Path, err)
	}
	x, err := newPrefix(b, c)
	if err != nil {
		return fmt.Errorf("add rule for %s: %w", c.Path, err)
	}
	b.connect = append(b.connect, x)
	if err := b.rehook(); err != nil {
		b.connect = b.connect[:len(b.connect)-1]
		return fmt.Errorf("add rule for %s: %w", c.Path, err)
	}
	b.watchAgain()
	return nil
}

// AddServe adds a rule of the serving side.
func (b *Bridge) AddServe(s policy.Serve) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, other := range b.serve {
		if other.Path == s.Path {
			return fmt.Errorf("serve %s: there is a rule for it already", s.Path)
		}
	}
	if err := policy.Validate(b.connectRules(), append(slices.Clone(b.serve), s)); err != nil {
		return fmt.Errorf("serve %s: %w", s.Path, err)
	}
	b.serve = append(b.serve, s)
	return nil
}

// Remove takes away the rule for a path, of either side. Connections that are open
// go on.
func (b *Bridge) Remove(path string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, x := range b.connect {
		if x.rule.Path == path {
			b.connect = slices.Delete(b.connect, i, i+1)
			b.watchAgain()
			err := b.rehook()
			x.remove()
			return err
		}
	}
	for i, s := range b.serve {
		if s.Path == path {
			b.serve = slices.Delete(b.serve, i, i+1)
			return nil
		}
	}
	return fmt.Errorf("no rule for %s", path)
}

// connectRules is called with mu held.
func (b *Bridge) connectRules() []policy.Connect {
	var rules []policy.Connect
	for _, x := range b.connect {
		rules = append(rules, x.rule)
	}
	return rules
}

// watchAgain tells the peer what to tell of, with mu held.
func (b *Bridge) watchAgain() {
	if b.current != nil {
		b.current.rewatch()
	}
}

// serveRules returns the rules of the serving side.
func (b *Bridge) serveRules() []policy.Serve {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.serve)
}

// noteProblem keeps what went wrong last, for those who ask for the status.
func (b *Bridge) noteProblem(err error) {
	b.log.Warn("bridge", "error", err)
	b.mu.Lock()
	b.problem = err.Error()
	b.mu.Unlock()
}
