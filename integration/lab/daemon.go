// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Daemon says how to start a program that stays.
type Daemon struct {
	// Name is what errors call it, and its log file.
	Name string
	// Argv is the command.
	Argv []string
	// Env is added to the usual variables.
	Env []string
	// Sockets are handed over to it, as systemd does. The caller keeps them.
	Sockets []*os.File
	// Ready returns nil when the daemon can be used. It is asked again until then. Nil means as soon as it runs.
	Ready func(ctx context.Context) error
	// Patience is how long it may take to get ready; zero means 30 seconds.
	Patience time.Duration
}

// Process is a started daemon.
type Process struct {
	name    string
	command *Cmd
	log     string
	done    chan struct{}
	err     error
}

// Start starts a daemon and waits until it is ready. If it ends before, or does not get ready in time, it is stopped
// and the error holds the end of its log.
func (e *Env) Start(ctx context.Context, d Daemon) (*Process, error) {
	log := filepath.Join(e.logDir, e.name+"-"+d.Name+".log")
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", d.Name, err)
	}
	defer file.Close()
	command := e.Command(context.WithoutCancel(ctx), d.handedOver()...)
	command.Env = append(command.Env, d.Env...)
	command.ExtraFiles = d.Sockets
	command.Stdout, command.Stderr = file, file
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", d.Name, err)
	}
	p := &Process{name: d.Name, command: command, log: log, done: make(chan struct{})}
	go func() {
		p.err = command.Wait()
		close(p.done)
	}()
	e.mu.Lock()
	e.daemons = append(e.daemons, p)
	e.mu.Unlock()
	if err := p.awaitReady(ctx, d); err != nil {
		p.stopQuietly()
		return nil, fmt.Errorf("start %s in %s: %w; the end of %s:\n%s", d.Name, e.name, err, log, p.LogTail())
	}
	return p, nil
}

// handedOver is the command line that tells the program of its sockets. Its pid is known once it runs only.
func (d Daemon) handedOver() []string {
	if len(d.Sockets) == 0 {
		return d.Argv
	}
	return append([]string{"sh", "-c", `LISTEN_FDS=$0 LISTEN_PID=$$ exec "$@"`, strconv.Itoa(len(d.Sockets))}, d.Argv...)
}

// awaitReady asks until the daemon is ready, has ended, or is out of time.
func (p *Process) awaitReady(ctx context.Context, d Daemon) error {
	if d.Ready == nil {
		return nil
	}
	patience := d.Patience
	if patience == 0 {
		patience = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		err := d.Ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("it ended at once: %w", errors.Join(p.err))
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", err)
		case <-again.C:
		}
	}
}

// Pid is the daemon's pid as the machine sees it.
func (p *Process) Pid() int { return p.command.Process.Pid }

// Done is closed when the daemon has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends it a signal.
func (p *Process) Signal(signal unix.Signal) error {
	if err := p.command.Process.Signal(signal); err != nil {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	return nil
}

// Stop asks the daemon to end, and kills it when ctx ends first. The error tells that it had to be killed.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		_ = p.command.Process.Kill()
		<-p.done
		return fmt.Errorf("stop %s: killed: %w", p.name, ctx.Err())
	}
}

// Kill ends the daemon without asking, and waits until it has.
func (p *Process) Kill() {
	_ = p.command.Process.Kill()
	<-p.done
}

// LogFile is where the daemon's output goes, on the machine.
func (p *Process) LogFile() string { return p.log }

// LogTail is the end of the daemon's output.
func (p *Process) LogTail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return tail(text)
}

// stopQuietly stops it on the way out, when there is nobody left to tell.
func (p *Process) stopQuietly() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = p.Stop(ctx)
}

// Accepts is a readiness check: something listens at the address inside e.
func (e *Env) Accepts(network, address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := e.Dial(ctx, network, address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}
