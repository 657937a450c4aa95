// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// groupPrefix starts the name of every cgroup that a lab makes at the top of a hierarchy.
	groupPrefix = "offload-lab-"
	// removePatience is how long killed processes may take to be gone.
	removePatience = 10 * time.Second
)

// BaseDir is where labs keep their directories: OFFLOAD_LAB_DIR, or else /var/lib/offload-lab. It must be on a file
// system that overlay mounts can be built on.
func BaseDir() string {
	if dir := os.Getenv("OFFLOAD_LAB_DIR"); dir != "" {
		return dir
	}
	return "/var/lib/offload-lab"
}

// state is a lab's directory and the claim on it.
type state struct {
	dir string
	id  string
	// lock is held, by a lock on it, as long as the lab or its janitor lives.
	lock *os.File
	// janitor removes everything if this process ends without doing so; quit is how it learns that all is done.
	janitor *exec.Cmd
	quit    *os.File
}

// stateFile tells other processes about a lab.
type stateFile struct {
	Kind Kind           `json:"kind"`
	Pids map[string]int `json:"pids"`
}

// newState makes a lab's directory and starts the janitor. It first removes labs whose processes are all dead.
func newState(kind Kind) (*state, error) {
	base := BaseDir()
	if err := os.MkdirAll(base, 0o755); err != nil {
		return nil, fmt.Errorf("make lab directory: %w", err)
	}
	if err := checkFilesystem(base); err != nil {
		return nil, err
	}
	sweep(base)
	dir, err := os.MkdirTemp(base, string(kind)+"-")
	if err != nil {
		return nil, fmt.Errorf("make lab directory: %w", err)
	}
	// The root directories below it are seen by every user inside.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make lab directory: %w", err)
	}
	s := &state{dir: dir, id: filepath.Base(dir)}
	if s.lock, err = lockFile(filepath.Join(dir, "lock")); err != nil {
		return nil, errors.Join(err, removeLab(dir))
	}
	if err := s.startJanitor(); err != nil {
		return nil, errors.Join(err, removeLab(dir))
	}
	return s, nil
}

// checkFilesystem refuses a directory on which overlay mounts, and so snapshots, don't work.
func checkFilesystem(dir string) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return fmt.Errorf("examine lab directory %s: %w", dir, err)
	}
	if stat.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return fmt.Errorf("lab directory %s is on an overlay file system, where snapshots can't be mounted: "+
			"set OFFLOAD_LAB_DIR to a directory on a disk", dir)
	}
	return nil
}

func lockFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock lab: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock lab: %w", err)
	}
	return file, nil
}

// sweep removes labs that nobody holds any more.
func sweep(base string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, entry := range entries {
		dir := filepath.Join(base, entry.Name())
		path := filepath.Join(dir, "lock")
		if info, err := os.Stat(dir); err != nil || (!exists(path) && time.Since(info.ModTime()) < time.Minute) {
			continue // Just being made.
		}
		if lock, err := lockFile(path); err == nil {
			_ = removeLab(dir)
			lock.Close()
		}
	}
}

// startJanitor starts the process that removes the lab's directory and cgroups if this one can't.
func (s *state) startJanitor() error {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start janitor: %w", err)
	}
	defer theirs.Close()
	s.quit = ours
	s.janitor = &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{janitorName, s.dir}, Env: plainEnv(), Dir: "/",
		Stdin: theirs, Stderr: os.Stderr,
		ExtraFiles: []*os.File{s.lock},
		// Out of reach of a terminal's Ctrl-C, which is when it is needed.
		SysProcAttr: &unix.SysProcAttr{Setsid: true},
	}
	if err := s.janitor.Start(); err != nil {
		s.janitor = nil
		return fmt.Errorf("start janitor: %w", err)
	}
	return nil
}

// runJanitor waits until its lab is done, or has ended without being done.
func runJanitor() error {
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE)
	if len(os.Args) != 2 {
		return errors.New("usage: " + janitorName + " DIR")
	}
	word, err := io.ReadAll(os.Stdin)
	if err == nil && len(word) > 0 {
		return nil
	}
	return removeLab(os.Args[1])
}

// close removes the lab's directory and cgroups, and lets the janitor go.
func (s *state) close() error {
	err := removeLab(s.dir)
	if s.janitor != nil {
		_, writeErr := s.quit.WriteString("done")
		s.quit.Close()
		err = errors.Join(err, writeErr, s.janitor.Wait())
	}
	if s.lock != nil {
		s.lock.Close()
	}
	return err
}

// removeLab removes what a lab has outside of its namespaces: cgroups, with any process in them, and its directory.
func removeLab(dir string) error {
	hs, err := machineHierarchies()
	if err != nil {
		return err
	}
	if err := removeGroup(hs, groupPrefix+filepath.Base(dir), removePatience); err != nil {
		return fmt.Errorf("remove lab cgroups: %w", err)
	}
	// Never follow a mount out of the directory: all of a lab's mounts are in its own namespaces.
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), " "+dir+"/") {
		return fmt.Errorf("remove lab directory %s: something is mounted below it (%w)", dir, errors.Join(err))
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove lab directory: %w", err)
	}
	// The last lab turns off the light.
	_ = os.Remove(filepath.Dir(dir))
	return nil
}

// publish writes what [Attach] needs.
func (s *state) publish(file stateFile) error {
	text, err := json.Marshal(file)
	if err != nil {
		return fmt.Errorf("publish lab: %w", err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "lab.json"), text, 0o644); err != nil {
		return fmt.Errorf("publish lab: %w", err)
	}
	return nil
}

// latestState finds the lab that was put up last and still runs.
func latestState() (id string, file stateFile, err error) {
	entries, err := os.ReadDir(BaseDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", file, fmt.Errorf("find labs: %w", err)
	}
	var newest time.Time
	for _, entry := range entries {
		path := filepath.Join(BaseDir(), entry.Name(), "lab.json")
		info, err := os.Stat(path)
		if err != nil || info.ModTime().Before(newest) {
			continue
		}
		if lock, err := lockFile(filepath.Join(BaseDir(), entry.Name(), "lock")); err == nil {
			lock.Close()
			continue // Nobody holds it: it is dead.
		}
		var found stateFile
		text, err := os.ReadFile(path)
		if err != nil || json.Unmarshal(text, &found) != nil {
			continue
		}
		newest, id, file = info.ModTime(), entry.Name(), found
	}
	if id == "" {
		return "", file, errors.New("no lab is up")
	}
	return id, file, nil
}
