// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/policy"
	"github.com/container-offload/offload/udsbridge/bridge/wire"
)

// prefix is a rule of the connecting side with the mirrors it has brought about.
// Bridge.mu protects it.
type prefix struct {
	b    *Bridge
	rule policy.Connect
	// base is where the mirrors are: the rule's path, or for a hook a place of the
	// bridge's own.
	base    string
	mirrors map[string]*mirror // by name below base
	dirs    []string           // made for mirrors, outermost first
	problem string
}

func newPrefix(b *Bridge, rule policy.Connect) (*prefix, error) {
	x := &prefix{b: b, rule: rule, base: rule.Path, mirrors: make(map[string]*mirror)}
	if rule.Technique == policy.Hook {
		if b.runtime == "" {
			return nil, errors.New("a hook needs a runtime directory")
		}
		x.base = HookBase(b.runtime, rule.Path)
	}
	if err := x.sweep(); err != nil {
		return nil, err
	}
	return x, nil
}

// HookBase returns the directory, or the path, that connections to path are led to
// if its rule's technique is a hook.
func HookBase(runtime, path string) string {
	return filepath.Join(runtime, "h", url.PathEscape(strings.TrimPrefix(path, "/")))
}

// sweep removes the mirrors that a killed bridge has left.
func (x *prefix) sweep() error {
	if strings.HasPrefix(x.base, "@") {
		return nil
	}
	x.adopt(x.base)
	err := filepath.WalkDir(x.base, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type() == fs.ModeSocket && isMirror(path) && isDead(path) {
			err = os.Remove(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("remove old mirrors: %w", err)
	}
	return nil
}

// update brings the mirrors in step with the peer's sockets.
func (x *prefix) update(s wire.Sockets) {
	x.problem = s.Problem
	wanted := make(map[string]wire.Socket, len(s.List))
	for _, sock := range s.List {
		wanted[sock.Name] = sock
	}
	for name, m := range x.mirrors {
		sock, ok := wanted[name]
		if ok && (sock == m.sock || m.adjust(sock)) {
			continue
		}
		m.close(!ok)
		delete(x.mirrors, name)
	}
	for name, sock := range wanted {
		if x.mirrors[name] != nil {
			continue
		}
		m, err := x.mirror(sock)
		if err != nil {
			x.problem = err.Error()
			x.b.log.Warn("bridge: mirror a socket of the peer", "path", policy.Join(x.base, name), "error", err)
			continue
		}
		x.mirrors[name] = m
	}
	x.removeDirs()
}

// mirror makes the mirror of one socket.
func (x *prefix) mirror(sock wire.Socket) (*mirror, error) {
	path := policy.Join(x.base, sock.Name)
	if err := x.makeDirs(filepath.Dir(path)); err != nil {
		return nil, err
	}
	m := &mirror{
		b: x.b, rule: x.rule, path: path, peerPath: policy.Join(x.rule.Peer(), sock.Name), sock: sock, fd: -1,
	}
	if err := m.begin(); err != nil {
		return nil, err
	}
	return m, nil
}

// makeDirs makes the directories that a mirror needs and notes those it made.
func (x *prefix) makeDirs(dir string) error {
	if strings.HasPrefix(x.base, "@") {
		return nil
	}
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		if err := x.makeDirs(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o755)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		x.adopt(dir)
		return nil
	case err != nil:
		return fmt.Errorf("make directory for mirrors: %w", err)
	}
	// A file system without such attributes keeps the directory after a crash.
	_ = unix.Lsetxattr(dir, mark, []byte{1}, 0)
	x.dirs = append(x.dirs, dir)
	return nil
}

// adopt takes over directories that a killed bridge has made.
func (x *prefix) adopt(dir string) {
	if !isMirror(dir) || slices.Contains(x.dirs, dir) {
		return
	}
	x.adopt(filepath.Dir(dir))
	x.dirs = append(x.dirs, dir)
}

// removeDirs removes the directories that were made and are empty again.
func (x *prefix) removeDirs() {
	kept := x.dirs[:0]
	for i := len(x.dirs) - 1; i >= 0; i-- {
		if err := unix.Rmdir(x.dirs[i]); err != nil && !errors.Is(err, unix.ENOENT) {
			continue
		}
		x.dirs[i] = ""
	}
	for _, d := range x.dirs {
		if d != "" {
			kept = append(kept, d)
		}
	}
	x.dirs = kept
}

// silence leaves the files of the mirrors with nobody behind them, so that
// connect(2) gives ECONNREFUSED.
func (x *prefix) silence() {
	x.problem = "the peer is not there"
	for _, m := range x.mirrors {
		m.close(false)
		m.sock = wire.Socket{}
	}
}

// remove takes all mirrors away.
func (x *prefix) remove() {
	for name, m := range x.mirrors {
		m.close(true)
		delete(x.mirrors, name)
	}
	x.removeDirs()
}
