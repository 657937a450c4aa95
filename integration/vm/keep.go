// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// kept tells other processes about a pair that one keeps.
type kept struct {
	PID     int               `json:"pid"`
	Dir     string            `json:"dir"`
	Key     string            `json:"key"`
	Sockets map[string]string `json:"sockets"`
	Keys    map[string]string `json:"host_keys"`
}

// keptFile and keptLock are in the cache: a pair is kept for each, and no more than one.
const (
	keptFile = "up.json"
	keptLock = "up.lock"
)

// ErrNoPair is the error of who looks for a pair that is kept where there is none.
var ErrNoPair = errors.New("no machines are up: \"make vm-up\" starts them")

// Keep opens a pair, has setUp make something of it, and keeps it until ctx ends, so that other processes reach it by
// Attach. It says "up" on its own line to ready when they can.
func Keep(ctx context.Context, options Options, setUp func(context.Context, *Pair) error, ready io.Writer) (err error) {
	if err := os.MkdirAll(options.Cache, 0o755); err != nil {
		return err
	}
	unlock, err := lockFile(filepath.Join(options.Cache, keptLock), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return errors.New("the machines are up already, or starting")
	}
	defer unlock()
	p, err := Open(ctx, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := setUp(ctx, p); err != nil {
		return err
	}
	state := kept{PID: os.Getpid(), Dir: p.Dir, Key: p.Key, Sockets: map[string]string{}, Keys: map[string]string{}}
	for _, m := range []*Machine{p.Host, p.DPU} {
		state.Sockets[m.name] = m.socket
		state.Keys[m.name] = string(ssh.MarshalAuthorizedKey(m.hostKey))
	}
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	path := filepath.Join(options.Cache, keptFile)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return err
	}
	defer os.Remove(path)
	if _, err := fmt.Fprintln(ready, "up"); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// readKept finds the pair that is kept.
func readKept(cache string) (state kept, err error) {
	unlock, err := lockFile(filepath.Join(cache, keptLock), unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		unlock()
		return state, ErrNoPair
	}
	if errors.Is(err, os.ErrNotExist) {
		return state, ErrNoPair
	}
	text, err := os.ReadFile(filepath.Join(cache, keptFile))
	if errors.Is(err, os.ErrNotExist) {
		return state, errors.New("the machines are not up yet")
	}
	if err != nil {
		return state, err
	}
	return state, json.Unmarshal(text, &state)
}

// Attach returns the way into a machine, host or dpu, of the pair that another process keeps.
func Attach(cache, name string) (*Guest, error) {
	state, err := readKept(cache)
	if err != nil {
		return nil, err
	}
	socket, ok := state.Sockets[name]
	if !ok {
		return nil, fmt.Errorf("no such machine: %q (host or dpu)", name)
	}
	text, err := os.ReadFile(state.Key)
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, err
	}
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(state.Keys[name]))
	if err != nil {
		return nil, err
	}
	return newGuest(name, socket, key, hostKey), nil
}

// AttachPair returns the pair that another process keeps. It has no Relay, which is in that process, and must not be
// closed.
func AttachPair(cache string) (*Pair, error) {
	state, err := readKept(cache)
	if err != nil {
		return nil, err
	}
	p := &Pair{Dir: state.Dir, Key: state.Key}
	for to, role := range map[**Machine]role{&p.Host: hostRole, &p.DPU: dpuRole} {
		guest, err := Attach(cache, role.name)
		if err != nil {
			return nil, err
		}
		*to = &Machine{
			Guest: guest, role: role, console: p.path(role.name + ".console"), qmp: p.path(role.name + ".qmp"),
			// It never seems to have ended: that is for the other process to see.
			qemu: &process{done: make(chan struct{})},
		}
	}
	return p, nil
}

// TakeDown ends the pair that another process keeps, and waits until it is gone.
func TakeDown(ctx context.Context, cache string) error {
	state, err := readKept(cache)
	if err != nil {
		return err
	}
	keeper, err := unix.PidfdOpen(state.PID, 0)
	if err != nil {
		return fmt.Errorf("end the process that keeps the machines: %w", err)
	}
	defer unix.Close(keeper)
	if err := unix.PidfdSendSignal(keeper, unix.SIGTERM, nil, 0); err != nil {
		return fmt.Errorf("end the process that keeps the machines: %w", err)
	}
	for {
		if _, err := readKept(cache); errors.Is(err, ErrNoPair) {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
