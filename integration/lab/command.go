// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const searchPath = binDir + ":/usr/sbin:/usr/bin:/sbin:/bin"

// plainEnv is the environment that commands start with.
func plainEnv() []string {
	return []string{"PATH=" + searchPath, "HOME=/root", "USER=root", "LANG=C.UTF-8", "TERM=xterm"}
}

// labVariable is set in every process that a lab starts, to the lab's ID.
const labVariable = "OFFLOAD_LAB"

func (e *Env) variables() []string { return append(plainEnv(), labVariable+"="+e.lab) }

// Cmd is a command inside an environment. It is an [exec.Cmd] to configure, signal and wait for; only what starts it
// is its own. The program is looked up in the environment's PATH when it starts.
type Cmd struct {
	*exec.Cmd
	env *Env
}

// Command prepares a command. Its process is killed when ctx ends. Its working directory is / and its variables are
// few and the same everywhere, unless Dir and Env are changed.
func (e *Env) Command(ctx context.Context, argv ...string) *Cmd {
	// A path with a slash keeps the look-up out of the caller's own PATH.
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args, cmd.Dir, cmd.Env = argv, "/", e.variables()
	return &Cmd{Cmd: cmd, env: e}
}

// Shell prepares a command line for the environment's shell.
func (e *Env) Shell(ctx context.Context, script string) *Cmd {
	return e.Command(ctx, "sh", "-c", script)
}

// Start starts the command in the environment and does not wait for it.
func (c *Cmd) Start() error { return c.startWith(func() error { return nil }) }

// startWith starts the command after prepare has run on the same thread, inside the environment.
func (c *Cmd) startWith(prepare func() error) error {
	if len(c.Args) == 0 {
		return errors.New("start command: no arguments")
	}
	return onThread(func() error {
		group, err := joinThread(c.env.hierarchies, c.env.group)
		if err != nil {
			return err
		}
		if group != nil {
			defer group.Close()
		}
		if err := enterNamespaces(c.env.pidfd); err != nil {
			return fmt.Errorf("enter %s: %w", c.env.name, err)
		}
		if c.Path, err = lookPath(c.Args[0]); err != nil {
			return fmt.Errorf("start command in %s: %w", c.env.name, err)
		}
		if c.SysProcAttr == nil {
			c.SysProcAttr = &unix.SysProcAttr{Setsid: true}
		}
		if group != nil {
			c.SysProcAttr.UseCgroupFD, c.SysProcAttr.CgroupFD = true, int(group.Fd())
		}
		if err := prepare(); err != nil {
			return err
		}
		return c.Cmd.Start()
	})
}

// lookPath finds a program as seen by the calling thread.
func lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for dir := range strings.SplitSeq(searchPath, ":") {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}

// Run starts the command and waits for it.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the command and returns what it wrote to its standard output. An error ends with its standard error.
func (c *Cmd) Output() ([]byte, error) {
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(c.Args, " "), err, tail(errs.Bytes()))
	}
	return out.Bytes(), err
}

// CombinedOutput runs the command and returns what it wrote.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	if err != nil {
		err = fmt.Errorf("%s: %w", strings.Join(c.Args, " "), err)
	}
	return out.Bytes(), err
}

// StartTTY starts the command with a new terminal of the environment as its controlling one, and returns the other
// side of it. The caller closes that; reading it fails with EIO when the command's side is closed.
func (c *Cmd) StartTTY() (*os.File, error) {
	var master, slave *os.File
	err := c.startWith(func() error {
		var err error
		if master, slave, err = openTTY(); err != nil {
			return err
		}
		c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
		c.SysProcAttr.Setsid, c.SysProcAttr.Setctty, c.SysProcAttr.Ctty = true, true, 0
		return nil
	})
	if slave != nil {
		slave.Close()
	}
	if err != nil {
		if master != nil {
			master.Close()
		}
		return nil, err
	}
	return master, nil
}

// openTTY opens a new terminal in the calling thread's /dev.
func openTTY() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open terminal: %w", err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return master, nil, fmt.Errorf("unlock terminal: %w", err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return master, nil, fmt.Errorf("number terminal: %w", err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return master, nil, fmt.Errorf("open terminal: %w", err)
	}
	return master, slave, nil
}

// ExitCode is the exit status in the error of a command: 0 for none, -1 if it did not exit by itself or never started.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// tail is the end of what a program printed, short enough for an error.
func tail(text []byte) string {
	const most = 2000
	if len(text) > most {
		text = append([]byte("…"), text[len(text)-most:]...)
	}
	return strings.TrimSpace(string(text))
}

// exists tells whether the path is there for the calling thread.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
