// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	hostagent "github.com/container-offload/offload/agent/host"
	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/plugins/wire"
	"github.com/container-offload/offload/remotefs/client"
	"github.com/container-offload/offload/status"
	"github.com/container-offload/offload/udsbridge/session"
)

const (
	// shortestRemount and longestRemount bound the pause between two attempts
	// to mount.
	shortestRemount = 100 * time.Millisecond
	longestRemount  = 2 * time.Second
	// unmountTimeout bounds how long the end of a mount is waited for.
	unmountTimeout = 5 * time.Second
)

// mounted is a directory of the HOST that is kept mounted.
type mounted struct {
	spec config.Mount
	host *connector
	log  *slog.Logger
	// left is asked when somebody has unmounted it, whether it stays so.
	left func(*mounted) bool

	stop context.CancelFunc
	done chan struct{}

	mu    sync.Mutex
	fs    *client.FS // nil if it is not mounted
	err   error      // why not
	since time.Time
	// session is the one that fs, or the attempt to make it, uses.
	session *session.Session
	// changed is closed, and replaced, when fs is.
	changed chan struct{}
	// settled is closed after the first attempt.
	settled chan struct{}
	once    sync.Once
}

func newMounted(spec config.Mount, host *connector, log *slog.Logger, left func(*mounted) bool) *mounted {
	return &mounted{
		spec: spec, host: host, left: left, log: log.With("mountpoint", spec.Mountpoint),
		done: make(chan struct{}), settled: make(chan struct{}), changed: make(chan struct{}), since: time.Now(),
	}
}

// keep keeps it mounted until ctx ends. A mount whose connection has ended for
// good is replaced as soon as there is another.
func (m *mounted) keep(ctx context.Context) {
	defer close(m.done)
	pause := shortestRemount
	for ctx.Err() == nil {
		f, err := m.mount(ctx)
		m.set(f, err)
		if err == nil {
			pause = shortestRemount
			if err := m.rebind(); err != nil {
				m.log.Warn("restore what was bound of the HOST's directory", "error", err)
			}
			select {
			case <-f.Done():
			case <-ctx.Done():
			}
			byHand := ctx.Err() == nil && f.Unmounted()
			m.unmount(f)
			if byHand && m.left(m) {
				return
			}
			continue
		}
		m.log.Debug("mount a directory of the HOST", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			pause = min(2*pause, longestRemount)
		}
	}
}

func (m *mounted) set(f *client.FS, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if (m.fs == nil) != (f == nil) {
		m.since = time.Now()
	}
	m.fs, m.err = f, err
	m.once.Do(func() { close(m.settled) })
	close(m.changed)
	m.changed = make(chan struct{})
}

// readyTimeout bounds how long a mount is waited for that the HOST could have.
const readyTimeout = 10 * time.Second

// ready waits until the directory is mounted over the session that there is. After the HOST's agent was started anew,
// it answers other requests a moment before its directory is mounted again.
func (m *mounted) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		live := m.host.Live()
		m.mu.Lock()
		ready, err, changed := m.fs != nil && m.session == live, m.err, m.changed
		m.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if err == nil {
				err = ctx.Err()
			}
			return fmt.Errorf("wait until %s of the HOST is mounted on %s: %w: %w", m.spec.Path, m.spec.Mountpoint, err, errdefs.ErrUnavailable)
		}
	}
}

// open opens a stream for a mount and remembers over which session.
func (m *mounted) open(ctx context.Context) (net.Conn, error) {
	s, err := m.host.Session(ctx)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.session = s
	m.mu.Unlock()
	st, err := s.Open(ctx, hostagent.ServiceFiles, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
	}
	return st, nil
}

// snapshotLevel is how far below the root of the HOST's tree a snapshot is.
var snapshotLevel = len(strings.Split(wire.ID(1).Source(), "/"))

// belief is how long the DPU's kernel believes what it has seen on the HOST, where
// containers change their files all the time: long enough for one command's many
// looks at a path, too short to see what was before another command.
const belief = 50 * time.Millisecond

// absence is how long it believes that a name is not there: from the look for a file to its creation.
const absence = 10 * time.Millisecond

func (m *mounted) mount(ctx context.Context) (*client.FS, error) {
	dir := m.spec.Mountpoint
	// A mount whose process was killed fails every look at it until it is
	// gone, MkdirAll's too; Mount takes it away.
	if err := os.MkdirAll(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		m.log.Debug("make mount point", "error", err)
	}
	opts, err := m.options()
	if err != nil {
		return nil, err
	}
	return client.Mount(ctx, m.open, dir, opts)
}

// options gives what the mount is to be like.
func (m *mounted) options() (client.Options, error) {
	o, err := config.ParseMountOptions(m.spec.Options)
	if err != nil {
		return client.Options{}, err
	}
	opts := client.Options{
		AttrTimeout: belief, EntryTimeout: belief, NegativeTimeout: absence,
		Source: m.source(), Export: m.spec.Export, Logger: m.log, Cache: caches[o.Cache], Soft: o.Soft,
		ReadOnly: m.spec.ReadOnly || o.ReadOnly, NoSuid: o.NoSuid, NoDev: o.NoDev, NoExec: o.NoExec, NoAtime: o.NoAtime,
	}
	switch opts.Export {
	case "":
		opts.Export = m.spec.Path
	case hostagent.TreeExport:
		// containerd mounts what is there, and follows what it finds.
		opts.Directories = snapshotLevel
	}
	if o.HasAttrTimeout {
		opts.AttrTimeout = o.AttrTimeout
		if opts.AttrTimeout == 0 {
			opts.AttrTimeout = -1 // never
		}
		opts.EntryTimeout, opts.NegativeTimeout = opts.AttrTimeout, min(opts.AttrTimeout, absence)
	}
	return opts, nil
}

var caches = map[string]client.Cache{
	config.CacheAuto: client.CacheAuto, config.CacheNone: client.CacheNone, config.CacheAlways: client.CacheAlways,
}

func (m *mounted) unmount(f *client.FS) {
	// First, for nobody to take it for mounted meanwhile.
	m.set(nil, f.Err())
	ctx, cancel := context.WithTimeout(context.Background(), unmountTimeout)
	defer cancel()
	if err := f.Unmount(ctx); err != nil {
		m.log.Warn("unmount a directory of the HOST", "error", err)
	}
}

func (m *mounted) source() string { return "host:" + m.spec.Path }

func (m *mounted) readOnly() bool {
	opts, err := m.options()
	return err == nil && opts.ReadOnly
}

// failure says why it is not mounted, nil if it is.
func (m *mounted) failure() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.fs != nil:
		return nil
	case m.err == nil:
		return errors.New("the HOST has not answered yet")
	}
	return m.err
}

// report says what the mount is doing.
func (m *mounted) report() status.Mount {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := status.Mount{
		Source: m.source(), Target: m.spec.Mountpoint, Type: client.FSType, ReadOnly: m.readOnly(),
		Mounted: m.fs != nil, Since: m.since,
	}
	if m.err != nil {
		out.Error = m.err.Error()
	}
	if m.fs == nil {
		return out
	}
	st := m.fs.Stats()
	out.Traffic = status.Traffic{
		Requests: st.Requests, Errors: st.Errors, BytesIn: st.Received, BytesOut: st.Sent,
		ReadBytes: st.ReadBytes, WrittenBytes: st.WrittenBytes,
		Nodes: st.Nodes, Handles: st.Handles, InFlight: st.InFlight,
	}
	return out
}

// check returns a sentence if the mount is not there or does not answer.
func (m *mounted) check(ctx context.Context) []string {
	m.mu.Lock()
	f, err := m.fs, m.err
	m.mu.Unlock()
	switch {
	case f == nil && err == nil:
		return []string{fmt.Sprintf("%s of the HOST is not mounted on %s yet.", m.spec.Path, m.spec.Mountpoint)}
	case f == nil:
		return []string{fmt.Sprintf("%s of the HOST can't be mounted: %v.", m.spec.Path, err)}
	}
	answered := make(chan error, 1)
	go func() {
		_, err := os.Stat(m.spec.Mountpoint)
		answered <- err
	}()
	select {
	case err := <-answered:
		if err != nil {
			return []string{fmt.Sprintf("The mount of the HOST's %s is broken: %v.", m.spec.Path, err)}
		}
	case <-ctx.Done():
		return []string{fmt.Sprintf("The mount of the HOST's %s on %s does not answer.", m.spec.Path, m.spec.Mountpoint)}
	}
	return nil
}
