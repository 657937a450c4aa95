// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	block   = 1 << 20
	page    = 4096
	random  = 2000 // random reads or writes
	writers = 8
)

// workload is something to time below a directory of a mount.
type workload struct {
	name string
	// bytes, if not 0, makes the figure a rate.
	bytes func(b *benchmark) int64
	// each, if not 0, is how many operations the time is divided by.
	each func(b *benchmark) int
	run  func(b *benchmark, dir string) error
	// goal is what the time may be compared with go-fuse's loopback.
	goal float64
}

func whole(b *benchmark) int64 { return b.size }
func perFile(b *benchmark) int { return b.files }
func perRandom(*benchmark) int { return random }

// workloads are in the order of a round: each finds what those before have left.
var workloads = []workload{
	{name: "write large file", bytes: whole, run: writeLarge, goal: 1.25},
	{name: "read large file, cold", bytes: whole, run: readLarge, goal: 1.25},
	{name: "read large file, warm", bytes: whole, run: readLarge, goal: 1.25},
	{name: "random 4 KiB read, depth 1", each: perRandom, run: randomIO(1, false), goal: 1.5},
	{name: "random 4 KiB read, depth 16", each: perRandom, run: randomIO(16, false), goal: 1.5},
	{name: "random 4 KiB write, depth 1", each: perRandom, run: randomIO(1, true), goal: 1.5},
	{name: "random 4 KiB write, depth 16", each: perRandom, run: randomIO(16, true), goal: 1.5},
	{name: "8 writers at once", bytes: whole, run: parallelWrite, goal: 1.25},
	{name: "create a file", each: perFile, run: createFiles, goal: 1.5},
	{name: "stat a file", each: perFile, run: statFiles, goal: 1.5},
	{name: "unlink a file", each: perFile, run: unlinkFiles, goal: 1.5},
	{name: "tar x", run: shell("mkdir t && tar xf %[2]s -C t"), goal: 1.5},
	{name: "find", run: shell("find t >/dev/null"), goal: 1.5},
	{name: "du", run: shell("du -s t >/dev/null"), goal: 1.5},
	{name: "tar c", run: shell("tar cf - t | cat >/dev/null"), goal: 1.5},
	{name: "git status", run: shell("git -C %[3]s/repository --git-dir=%[3]s/git --work-tree=t status -s >/dev/null"), goal: 1.5},
	{name: "rm -r", run: shell("rm -r t"), goal: 1.5},
}

func large(dir string) string { return filepath.Join(dir, "large") }

func writeLarge(b *benchmark, dir string) error {
	return writeFile(large(dir), b.size)
}

func writeFile(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, block)
	for at := int64(0); at < size; at += block {
		if _, err := f.Write(buf); err != nil {
			return err
		}
	}
	return f.Close()
}

func readLarge(_ *benchmark, dir string) error {
	f, err := os.Open(large(dir))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, block))
	return err
}

// randomIO reads or writes pages past the client's cache.
func randomIO(depth int, write bool) func(*benchmark, string) error {
	return func(b *benchmark, dir string) error {
		fd, err := unix.Open(large(dir), unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		var wg sync.WaitGroup
		errs := make([]error, depth)
		for i := range depth {
			wg.Go(func() { errs[i] = randomPages(fd, b.size, random/depth, write) })
		}
		wg.Wait()
		return errors.Join(errs...)
	}
}

func randomPages(fd int, size int64, n int, write bool) error {
	buf, err := unix.Mmap(-1, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(buf) }()
	for range n {
		at := rand.Int64N(size/page) * page
		if write {
			_, err = unix.Pwrite(fd, buf, at)
		} else {
			_, err = unix.Pread(fd, buf, at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func parallelWrite(b *benchmark, dir string) error {
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		wg.Go(func() { errs[i] = writeFile(filepath.Join(dir, fmt.Sprint("part", i)), b.size/writers) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func eachFile(b *benchmark, dir string, do func(path string) error) error {
	for i := range b.files {
		if err := do(filepath.Join(dir, fmt.Sprint("file", i))); err != nil {
			return err
		}
	}
	return nil
}

func createFiles(b *benchmark, dir string) error {
	return eachFile(b, dir, func(path string) error {
		fd, err := unix.Open(path, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	})
}

// statFiles finds names that no cache of this round has.
func statFiles(b *benchmark, _ string) error {
	return eachFile(b, filepath.Join(b.mountpoint, "old"), func(path string) error {
		var st unix.Stat_t
		return unix.Stat(path, &st)
	})
}

func unlinkFiles(b *benchmark, dir string) error {
	return eachFile(b, dir, unix.Unlink)
}

// shell runs a script in the directory. Its arguments are the mount, the archive
// and the directory of the benchmark.
func shell(script string) func(*benchmark, string) error {
	return func(b *benchmark, dir string) error {
		cmd := exec.Command("sh", "-c", fmt.Sprintf(script+"\n: %[1]s %[2]s %[3]s", b.mountpoint, b.archive(), b.dir))
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", script, err, out)
		}
		return nil
	}
}
