// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/hook"
	"github.com/container-offload/offload/udsbridge/bridge/policy"
)

// preloadMap is the file, in the runtime directory, by which libudsbridge.so knows
// where to lead connections: a line for each rule, with the path, a tab and where it
// leads.
const preloadMap = "preload.map"

// rehook brings the hook in step with the rules, with mu held. Without a kernel
// that can, programs that were started with libudsbridge.so are still led.
func (b *Bridge) rehook() error {
	var rules []hook.Rule
	for _, x := range b.connect {
		if x.rule.Technique == policy.Hook {
			rules = append(rules, hook.Rule{From: x.rule.Path, To: x.base})
		}
	}
	if len(rules) == 0 && b.hook == nil {
		return nil
	}
	if err := b.writeMap(rules); err != nil {
		return err
	}
	if b.hook == nil {
		h, err := hook.New("")
		if errors.Is(err, hook.ErrUnsupported) {
			b.log.Warn("bridge: only programs that are started with LD_PRELOAD=libudsbridge.so are led to the peer", "error", err)
			b.problem = err.Error()
			return nil
		}
		if err != nil {
			return err
		}
		b.hook = h
	}
	return b.hook.Set(rules)
}

func (b *Bridge) writeMap(rules []hook.Rule) error {
	var text strings.Builder
	for _, r := range rules {
		fmt.Fprintf(&text, "%s\t%s\n", r.From, r.To)
	}
	path := filepath.Join(b.runtime, preloadMap)
	err := os.MkdirAll(b.runtime, 0o755)
	if err == nil {
		err = os.WriteFile(path+".new", []byte(text.String()), 0o644)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("write the rules for libudsbridge.so: %w", err)
	}
	return nil
}

// unhook takes the hook away, with mu held.
func (b *Bridge) unhook() error {
	if b.runtime == "" {
		return nil
	}
	err := os.Remove(filepath.Join(b.runtime, preloadMap))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if b.hook != nil {
		err = errors.Join(err, b.hook.Close())
		b.hook = nil
	}
	// What still has something in it stays: files of the peer that programs have open.
	for _, dir := range []string{filepath.Join(b.runtime, pointsDir), b.runtime} {
		_ = unix.Rmdir(dir)
	}
	return err
}
