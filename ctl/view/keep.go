// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/ctl/view/calls"
	"github.com/container-offload/offload/machine"
	"github.com/container-offload/offload/remotefs/client"
	"github.com/container-offload/offload/udsbridge/hostlink"
	"github.com/container-offload/offload/udsbridge/session"
)

// Descriptors that the helper finds open.
const (
	lifeFD = 3 // a pidfd of the daemon
	tellFD = 4 // where to say that the files are there
	callFD = 5 // where the listener of the daemon's calls comes from
)

// filesService is the agent's service that serves files.
const filesService = "files"

const (
	// firstTimeout bounds how long a daemon waits for the HOST when it starts.
	firstTimeout = 10 * time.Second
	// unmountTimeout bounds how long the end of a mount is waited for.
	unmountTimeout = 5 * time.Second
	// again is the pause between two attempts to have the HOST's files again.
	again = time.Second
)

// Keep is the life of the helper that [Run] starts: it mounts the HOST's files
// over the daemon's, says so, and keeps them there until the daemon has ended.
func Keep(ctx context.Context, cfg *config.DPU, log *slog.Logger) error {
	life, tell := os.NewFile(lifeFD, "daemon"), os.NewFile(tellFD, "ready")
	defer life.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		awaitEnd(int(life.Fd()))
	}()
	daemon := os.Getppid()
	k, err := newKeeper(cfg, log)
	if err == nil {
		defer k.host.Close()
		first, stop := context.WithTimeout(ctx, firstTimeout)
		err = k.show(first)
		stop()
	}
	answer := ready
	if err != nil {
		answer = err.Error()
	}
	_, tellErr := io.WriteString(tell, answer)
	if err := errors.Join(err, tellErr, tell.Close()); err != nil {
		return err
	}
	go k.answerCalls(os.NewFile(callFD, "listener"), daemon)
	k.keep(ctx)
	return nil
}

// answerCalls answers the daemon's calls until it has ended, or says why it can't.
func (k *keeper) answerCalls(from *os.File, daemon int) {
	listener, err := calls.Receive(from)
	from.Close()
	if err == nil {
		defer listener.Close() // then no call waits for an answer
		err = calls.Serve(listener, daemon, k.kernel.Load)
	}
	if err != nil {
		k.log.Warn("the daemon sees this machine's kernel and number of processors", "error", err)
	}
}

// awaitEnd returns when the process of a pidfd has ended.
func awaitEnd(pidfd int) {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// keeper shows a daemon the HOST's files.
type keeper struct {
	host *hostlink.Keeper
	log  *slog.Logger

	// kernel is what the HOST has last said it has.
	kernel atomic.Pointer[machine.Kernel]

	mounts []*client.FS
	bound  []string // in the order in which they were bound
}

func newKeeper(cfg *config.DPU, log *slog.Logger) (*keeper, error) {
	dialer, err := cfg.Dialer()
	if err != nil {
		return nil, err
	}
	return &keeper{log: log, host: hostlink.New(dialer, session.Config{
		Name: "HOST " + cfg.Link.Address, ResumeTimeout: cfg.Link.ResumeTimeout.Duration(), Logger: log,
	})}, nil
}

// show mounts what the HOST exports and lays its files over the daemon's. On
// failure it leaves nothing.
func (k *keeper) show(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			k.hide()
		}
	}()
	if err := k.mount(ctx, "proc", "host:/proc", procDir); err != nil {
		return err
	}
	for _, name := range procFiles {
		if err := k.bind(filepath.Join(procDir, name), filepath.Join("/proc", name)); err != nil {
			return err
		}
	}
	if err := k.mount(ctx, "cgroup", "host:"+cgroupRoot, cgroupDir); err != nil {
		return err
	}
	if err := k.showControllers(); err != nil {
		return err
	}
	if err := k.showCPUSets(); err != nil {
		return err
	}
	return k.showMachine(ctx)
}

// showMachine has the daemon see the HOST's kernel, number of processors and
// operating system. They are kept while the HOST is away.
func (k *keeper) showMachine(ctx context.Context) error {
	if err := k.mount(ctx, machine.Export, machine.Export, aboutDir); err != nil {
		return err
	}
	kernel, release, err := machine.Read(aboutDir)
	if err != nil {
		return err
	}
	k.kernel.Store(&kernel)
	if len(release) == 0 {
		return nil
	}
	if err := os.WriteFile(osRelease, release, 0o644); err != nil {
		return fmt.Errorf("show the HOST's operating system: %w", err)
	}
	return nil
}

func (k *keeper) mount(ctx context.Context, export, source, dir string) error {
	m, err := client.Mount(ctx, func(ctx context.Context) (net.Conn, error) { return k.host.Open(ctx, filesService, nil) }, dir,
		client.Options{Source: source, Export: export, ReadOnly: true, Small: true, Cache: client.CacheNone, Logger: k.log})
	if err != nil {
		return err
	}
	k.mounts = append(k.mounts, m)
	return nil
}

// bind lays a file over another.
func (k *keeper) bind(file, over string) error {
	// The HOST may show a symbolic link there.
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	fd, err := unix.Openat2(unix.AT_FDCWD, file, &how)
	if err != nil {
		return fmt.Errorf("lay %s over %s: %w", file, over, err)
	}
	defer unix.Close(fd)
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), over, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("lay %s over %s: %w", file, over, err)
	}
	k.bound = append(k.bound, over)
	return nil
}

// controllers is the file of a control group that names its controllers. Only
// version 2 has it.
const controllers = "cgroup.controllers"

// showControllers has the daemon see the HOST's version of control groups and its
// controllers.
func (k *keeper) showControllers() error {
	theirs, own := exists(filepath.Join(cgroupDir, controllers)), exists(filepath.Join(cgroupRoot, controllers))
	switch {
	case !theirs && own:
		k.log.Warn("the HOST has version 1 of control groups and this machine version 2, which the daemon will take for the HOST's")
		return nil
	case !theirs:
		return nil // version 1 on both: the daemon looks for the same files
	case !own:
		if err := unix.Mount("cgroup2", cgroupRoot, "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("mount version 2 of control groups, which the HOST has: %w", err)
		}
		k.bound = append(k.bound, cgroupRoot)
	}
	return k.bind(filepath.Join(cgroupDir, controllers), filepath.Join(cgroupRoot, controllers))
}

// showCPUSets has the daemon see the HOST's processors where it sees the HOST's
// version of control groups.
func (k *keeper) showCPUSets() error {
	for _, name := range cpusetFiles {
		theirs, own := filepath.Join(cgroupDir, name), filepath.Join(cgroupRoot, name)
		if !exists(theirs) || !exists(own) {
			continue
		}
		if err := k.bind(theirs, own); err != nil {
			return err
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// hide undoes show.
func (k *keeper) hide() {
	for i := len(k.bound) - 1; i >= 0; i-- {
		if err := unix.Unmount(k.bound[i], unix.MNT_DETACH); err != nil {
			k.log.Warn("take the HOST's file away", "file", k.bound[i], "error", err)
		}
	}
	k.bound = nil
	for i := len(k.mounts) - 1; i >= 0; i-- {
		ctx, cancel := context.WithTimeout(context.Background(), unmountTimeout)
		if err := k.mounts[i].Unmount(ctx); err != nil {
			k.log.Warn("unmount the HOST's files", "error", err)
		}
		cancel()
	}
	k.mounts = nil
}

// keep shows the files again whenever the link was lost for good, until ctx ends.
// Meanwhile the daemon sees its own machine's.
func (k *keeper) keep(ctx context.Context) {
	for ctx.Err() == nil {
		if len(k.mounts) > 0 {
			select {
			case <-ctx.Done():
			case <-k.mounts[0].Done():
			case <-k.mounts[1].Done():
			case <-k.mounts[2].Done():
			}
			k.hide()
			continue
		}
		if err := k.show(ctx); err != nil {
			k.log.Debug("show the daemon the HOST's files", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(again):
			}
		}
	}
	k.hide()
}
