// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is a program that runs for as long as a pair does. The kernel kills it when this process ends.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended, once done is closed
}

// start starts a program in a process group of its own, so that an interrupt from the terminal does not reach it.
func start(name string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	started := make(chan error)
	go func() {
		// The kernel goes by the thread that started the program, so that one must last as long. It ends with this
		// goroutine, which never unlocks it.
		runtime.LockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// ended tells whether the program has ended, and how.
func (p *process) ended() (bool, error) {
	select {
	case <-p.done:
		return true, p.err
	default:
		return false, nil
	}
}

// stop asks the program to end, and kills it if it has not after the time given.
func (p *process) stop(patience time.Duration) {
	_ = p.cmd.Process.Signal(unix.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// commandError is the error of a program that is run to its end, with what it said.
func commandError(cmd *exec.Cmd, out []byte, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, exec.ErrNotFound) {
		return err
	}
	return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, tail(out))
}

// tail is the end of what a program printed, short enough for an error.
func tail(text []byte) string {
	const most = 4000
	if len(text) > most {
		text = append([]byte("…"), text[len(text)-most:]...)
	}
	return strings.TrimSpace(string(text))
}
