// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// controlFD is the pid 1's end of the socket to the lab: its specification comes in, one line goes out when all is
	// set up, and when the lab is gone it reads the end.
	controlFD = 3
	// specVariable carries the specification over pid 1's second exec.
	specVariable = "OFFLOAD_LAB_INIT"
	readyLine    = "ready\n"
)

// runInit is the life of an environment's pid 1. It starts in fresh namespaces but in the machine's root, waits until
// the lab has put it into its cgroups, starts its cgroup namespace there, builds the root tree, and then reaps.
func runInit() error {
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE)
	control := os.NewFile(controlFD, "control")
	text := os.Getenv(specVariable)
	if text == "" {
		return startCgroupNamespace(control)
	}
	unix.CloseOnExec(controlFD)
	var spec rootSpec
	err := json.Unmarshal([]byte(text), &spec)
	if err == nil {
		err = buildRoot(spec)
	}
	if err != nil {
		_, _ = fmt.Fprintf(control, "%v\n", err)
		return err
	}
	if _, err := io.WriteString(control, readyLine); err != nil {
		return fmt.Errorf("report to the lab: %w", err)
	}
	go reap()
	_, _ = io.Copy(io.Discard, control)
	// The kernel now kills everything in the pid namespace.
	return nil
}

// startCgroupNamespace reads the specification, which the lab sends when this process is in its cgroups, makes these
// the root of a new cgroup namespace, and executes the program again, so that all its threads are in it.
func startCgroupNamespace(control *os.File) error {
	var spec json.RawMessage
	if err := json.NewDecoder(control).Decode(&spec); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return fmt.Errorf("read specification: %w", err)
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("start cgroup namespace: %w", err)
	}
	env := append(os.Environ(), specVariable+"="+string(spec))
	return fmt.Errorf("execute again: %w", syscall.Exec("/proc/self/exe", []string{initName}, env))
}

// reap collects the exit status of every orphan of the pid namespace.
func reap() {
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	for {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil || pid <= 0 {
				break
			}
		}
		<-children
	}
}
