// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package calls

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/machine"
)

// role tells a process of the test what it is: "start" takes the filter and becomes
// "tell", which tells what it sees.
const role = "OFFLOAD_TEST_CALLS"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "start":
		fmt.Fprintln(os.Stderr, start())
		os.Exit(1)
	case "tell":
		tell()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func start() error {
	runtime.LockOSThread()
	listener, err := Install()
	if err := errors.Join(err, Send(os.NewFile(3, "listener"), listener, err)); err != nil {
		return err
	}
	if err := os.Setenv(role, "tell"); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, os.Environ())
}

// seen is what a daemon sees, and a program that it starts.
type seen struct {
	Kernel machine.Kernel
	Host   string
	Child  string
	Same   bool
	Errors []string
}

func tell() {
	var s seen
	complain := func(err error) {
		if err != nil {
			s.Errors = append(s.Errors, err.Error())
		}
	}
	var err error
	s.Kernel, err = machine.Local()
	complain(err)
	s.Host, err = os.Hostname()
	complain(err)
	out, err := exec.Command("uname", "-r").Output()
	complain(err)
	s.Child = strings.TrimSpace(string(out))
	// Many threads at once, with signals all the while.
	s.Same = true
	var all sync.WaitGroup
	var mu sync.Mutex
	for range 4 {
		all.Go(func() {
			for range 50 {
				k, err := machine.Local()
				mu.Lock()
				s.Same = s.Same && err == nil && k == s.Kernel
				mu.Unlock()
				_ = unix.Kill(os.Getpid(), unix.SIGURG)
			}
		})
	}
	all.Wait()
	_ = json.NewEncoder(os.Stdout).Encode(s)
}

// daemon runs a daemon whose calls are served, unless serve is nil, and returns what
// it has seen.
func daemon(t *testing.T, serve func(listener *os.File, pid int) error) seen {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to filter system calls without further ado")
	}
	here, there, err := Pair()
	require.NoError(t, err)
	defer here.Close()
	var out, errs bytes.Buffer
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), role+"=start")
	cmd.ExtraFiles = []*os.File{there}
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Start())
	there.Close()
	listener, err := Receive(here)
	require.NoError(t, err, &errs)
	served := make(chan error, 1)
	go func() {
		defer listener.Close()
		served <- serve(listener, cmd.Process.Pid)
	}()
	require.NoError(t, cmd.Wait(), &errs)
	require.NoError(t, <-served)
	var s seen
	require.NoError(t, json.Unmarshal(out.Bytes(), &s), &out)
	return s
}

func TestADaemonSeesAnotherMachine(t *testing.T) {
	other := machine.Kernel{Release: "6.99.0-other", Version: "#1 of another", Machine: "riscv64", CPUs: 200}
	s := daemon(t, func(l *os.File, pid int) error {
		return Serve(l, pid, func() *machine.Kernel { return &other })
	})
	require.Empty(t, s.Errors)
	require.Equal(t, other, s.Kernel)
	require.True(t, s.Same, "however often it asks")
	name, err := os.Hostname()
	require.NoError(t, err)
	require.Equal(t, name, s.Host, "the name stays this machine's")
	own, err := machine.Local()
	require.NoError(t, err)
	require.Equal(t, own.Release, s.Child, "what the daemon starts sees this machine")
}

func TestWithoutAnAnswerItSeesItsOwn(t *testing.T) {
	own, err := machine.Local()
	require.NoError(t, err)
	s := daemon(t, func(l *os.File, pid int) error {
		return Serve(l, pid, func() *machine.Kernel { return nil })
	})
	require.Empty(t, s.Errors)
	require.Equal(t, own, s.Kernel)
}

// Whoever answers may die: the daemon's calls fail, none waits.
func TestTheAnswererDies(t *testing.T) {
	s := daemon(t, func(l *os.File, _ int) error { return l.Close() })
	require.NotEmpty(t, s.Errors)
	require.Contains(t, s.Errors[0], unix.ENOSYS.Error())
}

func TestWhyThereIsNoListener(t *testing.T) {
	here, there, err := Pair()
	require.NoError(t, err)
	defer here.Close()
	require.NoError(t, Send(there, nil, errors.New("no such thing")))
	_, err = Receive(here)
	require.EqualError(t, err, "no such thing")
	there.Close()
	_, err = Receive(here)
	require.ErrorContains(t, err, "the daemon has ended")
}
