// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Export is the name of the HOST's export that has the files below.
const Export = "machine"

// The files of the export.
const (
	KernelFile    = "kernel"
	OSReleaseFile = "os-release"
)

const (
	// MaxCPUs bounds how many processors a machine may say it has: the most that
	// Linux has on any architecture.
	MaxCPUs = 8192
	// maxField is what a field of struct utsname holds; see uname(2).
	maxField = 64
	// maxFile bounds each file, in bytes.
	maxFile = 16 << 10
)

// Kernel is what uname(2) and sched_getaffinity(2) tell of a machine.
type Kernel struct {
	// Release, Version and Machine are 1 to 64 printable characters each.
	Release string `json:"release"`
	Version string `json:"version"`
	Machine string `json:"machine"`
	// CPUs is how many processors may be used, 1 to [MaxCPUs].
	CPUs int `json:"cpus"`
}

// Local describes this machine, with the processors that this process may use.
func Local() (Kernel, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Kernel{}, fmt.Errorf("ask for the kernel's version: %w", err)
	}
	return Kernel{
		Release: unix.ByteSliceToString(u.Release[:]), Version: unix.ByteSliceToString(u.Version[:]),
		Machine: unix.ByteSliceToString(u.Machine[:]), CPUs: runtime.NumCPU(),
	}, nil
}

// Check tells whether the description may be shown to a program in place of its
// own machine's.
func (k Kernel) Check() error {
	for name, text := range map[string]string{"release": k.Release, "version": k.Version, "machine": k.Machine} {
		if text == "" || len(text) > maxField || !printable(text) {
			return fmt.Errorf("kernel's %s %.80q: want 1 to %d printable characters", name, text, maxField)
		}
	}
	if k.CPUs < 1 || k.CPUs > MaxCPUs {
		return fmt.Errorf("%d processors, want 1 to %d", k.CPUs, MaxCPUs)
	}
	return nil
}

func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// Write writes this machine's description into a directory, which it makes.
func Write(dir string) error {
	k, err := Local()
	if err != nil {
		return err
	}
	text, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("describe this machine: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("describe this machine: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, KernelFile), text, 0o644); err != nil {
		return fmt.Errorf("describe this machine: %w", err)
	}
	release, err := osRelease()
	if err != nil {
		return fmt.Errorf("describe this machine: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, OSReleaseFile), release, 0o644); err != nil {
		return fmt.Errorf("describe this machine: %w", err)
	}
	return nil
}

// osRelease returns this machine's os-release(5), or nothing if it has none.
func osRelease() ([]byte, error) {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		b, err := readFile(path)
		if !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
	}
	return nil, nil
}

// Read reads a description that [Write] has written on another machine, and
// checks it.
func Read(dir string) (Kernel, []byte, error) {
	var k Kernel
	text, err := readFile(filepath.Join(dir, KernelFile))
	if err != nil {
		return k, nil, fmt.Errorf("read the description of a machine: %w", err)
	}
	if err := json.Unmarshal(text, &k); err != nil {
		return k, nil, fmt.Errorf("read the description of a machine: %w", err)
	}
	if err := k.Check(); err != nil {
		return k, nil, fmt.Errorf("read the description of a machine: %w", err)
	}
	release, err := readFile(filepath.Join(dir, OSReleaseFile))
	if err != nil {
		return k, nil, fmt.Errorf("read the description of a machine: %w", err)
	}
	for line := range strings.Lines(string(release)) {
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f }) {
			return k, nil, fmt.Errorf("read the description of a machine: its os-release has %.80q", line)
		}
	}
	return k, release, nil
}

// readFile reads a file of bounded size.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxFile)
	}
	return b, err
}
