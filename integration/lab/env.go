// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Env is one isolated environment: a machine of its own as far as containers, mounts, processes and networks go.
// Its methods may be called from several goroutines at once.
type Env struct {
	name        string
	group       string
	hierarchies []hierarchy
	logDir      string
	lab         string
	pid         int
	pidfd       int

	// Of the process that made the environment only; an attached Env has none of these.
	init    *exec.Cmd
	control net.Conn

	mu      sync.Mutex
	daemons []*Process
}

// envSpec is what makes an environment.
type envSpec struct {
	name     string
	dir      string // its directory on disk; the root tree is below it
	logDir   string
	group    string
	binaries []string
	links    map[string]string // further names of binaries
	lab      string            // the lab's ID
}

// newEnv creates an environment's root tree, cgroups and namespaces, with loopback up and nothing running but pid 1.
func newEnv(ctx context.Context, hs []hierarchy, spec envSpec) (_ *Env, err error) {
	root, programs := filepath.Join(spec.dir, "root"), filepath.Join(spec.dir, "programs")
	if err := layOutPrograms(programs, spec.binaries); err != nil {
		return nil, fmt.Errorf("lay out the programs of %s: %w", spec.name, err)
	}
	for name, program := range spec.links {
		if err := os.Symlink(program, filepath.Join(programs, name)); err != nil {
			return nil, fmt.Errorf("lay out the programs of %s: %w", spec.name, err)
		}
	}
	if err := layOutRoot(root, spec.name); err != nil {
		return nil, fmt.Errorf("lay out the root of %s: %w", spec.name, err)
	}
	if err := createGroup(hs, spec.group); err != nil {
		return nil, err
	}
	e := &Env{name: spec.name, group: spec.group, hierarchies: hs, logDir: spec.logDir, lab: spec.lab, pidfd: -1}
	defer func() {
		if err != nil {
			_ = e.close()
		}
	}()
	if err := e.startInit(); err != nil {
		return nil, fmt.Errorf("start pid 1 of %s: %w", spec.name, err)
	}
	err = e.setUp(ctx, rootSpec{
		Hostname: spec.name, Root: root, Programs: programs, Hierarchies: hs, Group: spec.group,
	})
	if err != nil {
		return nil, fmt.Errorf("set up %s: %w", spec.name, err)
	}
	return e, e.raiseLoopback()
}

// startInit starts pid 1 in fresh namespaces; it waits there for its specification.
func (e *Env) startInit() error {
	ours, theirs, err := controlPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	e.control = ours
	e.init = &exec.Cmd{
		Path:       "/proc/self/exe",
		Args:       []string{initName},
		Env:        e.variables(),
		Stderr:     os.Stderr,
		ExtraFiles: []*os.File{theirs},
		SysProcAttr: &unix.SysProcAttr{
			Setsid: true,
			// The cgroup namespace is pid 1's own work: it starts where the process then is.
			Cloneflags: allNamespaces &^ unix.CLONE_NEWCGROUP,
		},
	}
	if err := e.init.Start(); err != nil {
		e.init = nil
		return err
	}
	e.pid = e.init.Process.Pid
	e.pidfd, err = unix.PidfdOpen(e.pid, 0)
	if err != nil {
		return fmt.Errorf("open process: %w", err)
	}
	return moveProcess(e.hierarchies, e.group, e.pid)
}

// setUp sends pid 1 its specification and waits for its answer.
func (e *Env) setUp(ctx context.Context, spec rootSpec) error {
	stop := context.AfterFunc(ctx, func() { e.control.Close() })
	defer stop()
	if err := json.NewEncoder(e.control).Encode(spec); err != nil {
		return fmt.Errorf("send specification: %w", err)
	}
	line, err := bufio.NewReader(e.control).ReadString('\n')
	switch {
	case line == readyLine:
		return nil
	case line != "":
		return errors.New(strings.TrimSpace(line))
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return fmt.Errorf("pid 1 ended: %w", err)
	}
}

// controlPair makes the socket between the lab and a pid 1, whose end is a file to inherit.
func controlPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make control socket: %w", err)
	}
	file, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	defer file.Close()
	ours, err := net.FileConn(file)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("make control socket: %w", err)
	}
	return ours, theirs, nil
}

// attachEnv refers to an environment that another process made and keeps.
func attachEnv(hs []hierarchy, spec envSpec, pid int) (*Env, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("attach to %s: %w", spec.name, err)
	}
	return &Env{name: spec.name, group: spec.group, lab: spec.lab, hierarchies: hs, pid: pid, pidfd: pidfd}, nil
}

// Name is the environment's name and hostname: host, dpu or stock.
func (e *Env) Name() string { return e.name }

// Do runs fn on a thread that is in all of the environment's namespaces and has its root. What fn opens, dials or
// listens on stays there afterwards. fn must do it in its own goroutine.
func (e *Env) Do(fn func() error) error {
	return onThread(func() error {
		if err := enterNamespaces(e.pidfd); err != nil {
			return fmt.Errorf("enter %s: %w", e.name, err)
		}
		return fn()
	})
}

// ReadFile is os.ReadFile inside the environment.
func (e *Env) ReadFile(path string) (data []byte, err error) {
	err = e.Do(func() error {
		data, err = os.ReadFile(path)
		return err
	})
	return data, err
}

// WriteFile is os.WriteFile inside the environment, and makes the directories that lack.
func (e *Env) WriteFile(path string, data []byte, mode os.FileMode) error {
	return e.Do(func() error {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, data, mode)
	})
}

// Dial connects from inside the environment. A TCP address must be a literal one.
func (e *Env) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = e.Do(func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens inside the environment. A TCP address must be a literal one.
func (e *Env) Listen(network, address string) (l net.Listener, err error) {
	err = e.Do(func() error {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

// hold makes a unix socket inside the environment for a daemon to be handed. The caller closes it; its file stays.
func (e *Env) hold(path string) (*os.File, error) {
	if err := e.Do(func() error { return os.MkdirAll(filepath.Dir(path), 0o755) }); err != nil {
		return nil, err
	}
	l, err := e.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	u, ok := l.(*net.UnixListener)
	if !ok {
		return nil, fmt.Errorf("%T is not a unix socket", l)
	}
	u.SetUnlinkOnClose(false)
	if err := e.Do(func() error { return os.Chmod(path, 0o600) }); err != nil {
		return nil, err
	}
	return u.File()
}

// close stops the daemons, ends pid 1 and with it everything in the environment, and removes its cgroups.
func (e *Env) close() error {
	for i := len(e.daemons) - 1; i >= 0; i-- {
		e.daemons[i].stopQuietly()
	}
	if e.control != nil {
		e.control.Close()
	}
	if e.init != nil {
		// pid 1 ends by itself on the closed socket; it is killed all the same in case it is stuck in its set-up.
		_ = e.init.Process.Kill()
		_ = e.init.Wait()
	}
	if e.pidfd >= 0 {
		_ = unix.Close(e.pidfd)
		e.pidfd = -1
	}
	return removeGroup(e.hierarchies, e.group, removePatience)
}
