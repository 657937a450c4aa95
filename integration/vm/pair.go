// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// Port is where the HOST's agent listens, for TCP and for vsock.
const Port = 7400

// PeerCID is the context id by which each machine sees the other.
const PeerCID = 2

// Options say how to open a pair.
type Options struct {
	// Cache is the directory of images and of the emulator, which is filled if need be.
	Cache string
	// Repository is where the programs and the configuration to install have been built. Without it nothing can be
	// installed.
	Repository string
	// Log gets a line for each thing that takes long. By default nobody does.
	Log io.Writer
}

// Pair is a HOST and a DPU that are up.
type Pair struct {
	Host, DPU *Machine
	// Relay joins their vsock.
	Relay *Relay
	// Dir has their consoles, logs and sockets, and goes with the pair.
	Dir string
	// Accelerator is kvm or tcg.
	Accelerator string
	// Key is the file with the key that they let in.
	Key string

	unlock func()
	device *process
}

// Build makes the images and unpacks the emulator, so that Open need not.
func Build(ctx context.Context, options Options) error {
	_, err := build(ctx, options)
	return err
}

// parts are what pairs are made of.
type parts struct {
	emulator  emulator
	host, dpu image
	keyFile   string
	key       ssh.Signer
	accel     string
}

func build(ctx context.Context, options Options) (p parts, err error) {
	if options.Log == nil {
		options.Log = io.Discard
	}
	b := &builder{dir: options.Cache, log: options.Log}
	if p.emulator, err = b.buildEmulator(ctx); err != nil {
		return p, err
	}
	if p.keyFile, p.key, err = b.clientKey(ctx); err != nil {
		return p, err
	}
	if p.host, err = b.buildImage(ctx, hostRole, p.key.PublicKey()); err != nil {
		return p, err
	}
	if p.dpu, err = b.buildImage(ctx, dpuRole, p.key.PublicKey()); err != nil {
		return p, err
	}
	p.accel, err = b.accelerator(ctx, p.emulator, p.dpu)
	return p, err
}

// Open starts both machines and waits until they are up. If it fails, or ctx ends meanwhile, nothing stays behind. The
// caller closes the pair.
func Open(ctx context.Context, options Options) (_ *Pair, err error) {
	made, err := build(ctx, options)
	if err != nil {
		return nil, err
	}
	p := &Pair{Accelerator: made.accel, Key: made.keyFile}
	if p.Dir, p.unlock, err = newRunDir(options.Cache); err != nil {
		return nil, fmt.Errorf("open pair: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if err := p.startVsock(ctx, made.emulator); err != nil {
		return nil, fmt.Errorf("open pair: %w", err)
	}
	for _, m := range []struct {
		to    **Machine
		role  role
		image image
	}{{&p.Host, hostRole, made.host}, {&p.DPU, dpuRole, made.dpu}} {
		payload, err := p.payload(ctx, m.role, options.Repository)
		if err != nil {
			return nil, fmt.Errorf("open pair: %w", err)
		}
		spec := machineSpec{
			role: m.role, image: m.image, payload: payload, dir: p.Dir, accel: made.accel,
			link: p.path("link"), vsock: p.path(m.role.name + ".vhost"),
		}
		*m.to, err = startMachine(made.emulator, spec, func(socket string) *Guest {
			return newGuest(m.role.name, socket, made.key, m.image.hostKey)
		})
		if err != nil {
			return nil, fmt.Errorf("open pair: %w", err)
		}
	}
	return p, p.awaitUp(ctx)
}

func (p *Pair) path(name string) string { return filepath.Join(p.Dir, name) }

// awaitUp waits for both machines at once.
func (p *Pair) awaitUp(ctx context.Context) error {
	var waiting sync.WaitGroup
	var errs [2]error
	for i, m := range []*Machine{p.Host, p.DPU} {
		waiting.Go(func() { errs[i] = m.awaitUp(ctx) })
	}
	waiting.Wait()
	return errors.Join(errs[:]...)
}

// startVsock starts the program that is both machines' vsock device, and the relay between them.
func (p *Pair) startVsock(ctx context.Context, e emulator) (err error) {
	log, err := os.Create(p.path("vsock.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	var args []string
	for _, r := range []role{hostRole, dpuRole} {
		args = append(args, "--vm", fmt.Sprintf("guest-cid=%d,socket=%s,uds-path=%s,groups=%s",
			r.cid, p.path(r.name+".vhost"), p.path(r.name+".vsock"), r.name))
	}
	cmd := e.command("vhost-device-vsock", args...)
	cmd.Stdout, cmd.Stderr = log, log
	if p.device, err = start("vhost-device-vsock", cmd); err != nil {
		return err
	}
	for _, r := range []role{hostRole, dpuRole} {
		if err := p.awaitFile(ctx, r.name+".vhost"); err != nil {
			return err
		}
	}
	p.Relay, err = startRelay(p.path(dpuRole.name+".vsock_"+strconv.Itoa(Port)), p.path(hostRole.name+".vsock"), Port)
	return err
}

// awaitFile waits for a file of the vsock device.
func (p *Pair) awaitFile(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if _, err := os.Lstat(p.path(name)); err == nil {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-p.device.done:
			said, err := os.ReadFile(p.path("vsock.log"))
			return fmt.Errorf("vhost-device-vsock ended (%w): %s", errors.Join(p.device.err, err), tail(said))
		case <-ctx.Done():
			return fmt.Errorf("vhost-device-vsock made no %s: %w", name, ctx.Err())
		}
	}
}

// payload makes the disk from which a machine's programs are installed, or none where there is no repository.
func (p *Pair) payload(ctx context.Context, r role, repository string) (string, error) {
	if repository == "" {
		return "", nil
	}
	dir, image := p.path(r.name+".tree"), p.path(r.name+".payload")
	defer os.RemoveAll(dir)
	if err := stage(dir, repository, r.name); err != nil {
		return "", err
	}
	size, err := treeSize(dir)
	if err != nil {
		return "", err
	}
	// Room for what a file system needs of its own.
	return image, makeDisk(ctx, image, PayloadLabel, dir, size+size/8+(32<<20))
}

// Vsock connects from this machine to a vsock port of a guest, as context id 2.
func (p *Pair) Vsock(ctx context.Context, m *Machine, port uint32) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", p.path(m.role.name+".vsock"))
	if err != nil {
		return nil, fmt.Errorf("connect to vsock port %d of %s: %w", port, m.name, err)
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %d\n", port); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to vsock port %d of %s: %w", port, m.name, err)
	}
	// A byte at a time, as what follows the line is the caller's.
	for one := make([]byte, 1); one[0] != '\n'; {
		if _, err := conn.Read(one); err != nil {
			conn.Close()
			return nil, fmt.Errorf("connect to vsock port %d of %s: %w", port, m.name, err)
		}
	}
	return conn, nil
}

// KeepLogs copies the consoles and logs to a directory.
func (p *Pair) KeepLogs(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var errs []error
	for _, pattern := range []string{"*.console", "*.log"} {
		found, err := filepath.Glob(p.path(pattern))
		errs = append(errs, err)
		for _, path := range found {
			errs = append(errs, copyFile(path, filepath.Join(dir, filepath.Base(path))))
		}
	}
	return errors.Join(errs...)
}

// Close powers the machines off and removes everything but what is cached.
func (p *Pair) Close() error {
	var stopping sync.WaitGroup
	for _, m := range []*Machine{p.Host, p.DPU} {
		if m != nil {
			stopping.Go(func() { m.powerOff(powerOffPatience) })
		}
	}
	stopping.Wait()
	var errs []error
	if p.Relay != nil {
		errs = append(errs, p.Relay.Close())
	}
	if p.device != nil {
		p.device.stop(time.Second)
	}
	errs = append(errs, os.RemoveAll(p.Dir))
	p.unlock()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close pair: %w", err)
	}
	return nil
}

// powerOffPatience is how long a machine may take to shut down in order. Nothing of it is kept, so it may be short.
const powerOffPatience = 20 * time.Second

// runPrefix begins the names of the directories of pairs. They are short, as sockets' paths must be.
const runPrefix = "offload-vm-"

// newRunDir makes the directory of a pair, and removes those of pairs whose process was killed.
func newRunDir(cache string) (dir string, unlock func(), err error) {
	// A directory that was made a moment ago and is not locked yet is not an old one.
	others, err := lockFile(filepath.Join(cache, "lock"), unix.LOCK_EX)
	if err != nil {
		return "", nil, err
	}
	defer others()
	old, err := filepath.Glob(filepath.Join(os.TempDir(), runPrefix+"*"))
	if err != nil {
		return "", nil, err
	}
	for _, dir := range old {
		if unlock, err := lockFile(filepath.Join(dir, "lock"), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			err = os.RemoveAll(dir)
			unlock()
			if err != nil {
				return "", nil, err
			}
		}
	}
	if dir, err = os.MkdirTemp("", runPrefix); err != nil {
		return "", nil, err
	}
	if unlock, err = lockFile(filepath.Join(dir, "lock"), unix.LOCK_EX); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, unlock, nil
}
