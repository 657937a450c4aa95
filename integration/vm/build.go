// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// builder makes what is cached below dir, once.
type builder struct {
	dir string
	log io.Writer
}

func (b *builder) say(format string, args ...any) { fmt.Fprintf(b.log, "vm: "+format+"\n", args...) }

// once returns dir/name, having had it made if it is not there. Of several processes one makes it and the others wait.
// What is half made never has its name.
func (b *builder) once(ctx context.Context, name string, create func(ctx context.Context, dir string) error) (string, error) {
	done := filepath.Join(b.dir, name)
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(filepath.Join(b.dir, "lock"), unix.LOCK_EX)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(done); err == nil {
		return done, nil
	}
	// Only what holds the lock has a directory of this name, so an older one is of somebody who was killed.
	work := filepath.Join(b.dir, "making")
	if err := os.RemoveAll(work); err != nil {
		return "", err
	}
	if err := os.Mkdir(work, 0o755); err != nil {
		return "", err
	}
	if err := create(ctx, work); err != nil {
		return "", errors.Join(err, os.RemoveAll(work))
	}
	return done, os.Rename(work, done)
}

// lockFile takes a lock that ends with the process at the latest.
func lockFile(path string, how int) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	for {
		err = unix.Flock(int(file.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { file.Close() }, nil
}

// recipeKey names what a recipe makes, so that another recipe makes another.
func recipeKey(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return hex.EncodeToString(sum[:6])
}

// debianTree says what debootstrap makes.
type debianTree struct {
	variant, release, dir string
	packages              []string
	commands              []string // run in the tree at the end
}

// debootstrap makes a directory that has a Debian in it.
func debootstrap(ctx context.Context, t debianTree) error {
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return fmt.Errorf("%w: \"make vm-deps\" installs it", err)
	}
	if os.Geteuid() != 0 {
		return errors.New("making a Debian tree needs root")
	}
	args := []string{
		"--variant=" + t.variant, "--format=directory", "--quiet", "--include=" + strings.Join(t.packages, ","),
		// A snapshot of an unreleased Debian may be older than it says it should get.
		`--aptopt=Acquire::Check-Valid-Until "false"`,
		`--aptopt=APT::Install-Recommends "false"`,
	}
	for _, command := range t.commands {
		args = append(args, `--customize-hook=chroot "$1" `+command)
	}
	cmd := exec.CommandContext(ctx, "mmdebstrap", append(args, t.release, t.dir)...)
	// It removes what it made when it is interrupted, not when it is killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	out, err := cmd.CombinedOutput()
	return commandError(cmd, out, err)
}

// writeFiles writes files below root, with the directories they need. A name that ends with @ is a symbolic link.
func writeFiles(root string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(root, strings.TrimSuffix(name, "@"))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if strings.HasSuffix(name, "@") {
			if err := os.Symlink(text, path); err != nil {
				return err
			}
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// makeDisk makes a disk image of size bytes with one ext4 file system that holds what is in dir. The image is sparse.
func makeDisk(ctx context.Context, image, label, dir string, size int64) error {
	file, err := os.Create(image)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Truncate(size), file.Close()); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "/usr/sbin/mke2fs", "-q", "-t", "ext4", "-L", label, "-d", dir, "-m", "0", image)
	out, err := cmd.CombinedOutput()
	return commandError(cmd, out, err)
}
