// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/policy"
	"github.com/container-offload/offload/udsbridge/bridge/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// openShared opens this machine's own file, whose descriptor the peer passes.
func openShared(dirs []string, f wire.File) (int, error) {
	for _, dir := range dirs {
		rel, ok := policy.Below(f.Path, dir)
		if !ok {
			continue
		}
		fd, err := openFile(dir, rel, openFlags(f))
		if err != nil {
			return -1, err
		}
		if err := restoreOffset(fd, f); err != nil {
			unix.Close(fd)
			return -1, err
		}
		return fd, nil
	}
	return -1, fmt.Errorf("%s is in no directory whose files the peer may pass: %w", f.Path, unix.EACCES)
}

// openFile opens a regular file or a directory and nothing else: opening a FIFO or
// a device may wait or have effects.
func openFile(dir, rel string, flags int) (int, error) {
	found, err := openBeneath(dir, rel, unix.O_PATH)
	if err != nil || flags&unix.O_PATH != 0 {
		return found, err
	}
	defer unix.Close(found)
	var st unix.Stat_t
	if err := unix.Fstat(found, &st); err != nil {
		return -1, fmt.Errorf("look at %s: %w", rel, err)
	}
	if t := st.Mode & unix.S_IFMT; t != unix.S_IFREG && t != unix.S_IFDIR {
		return -1, fmt.Errorf("%s in %s is neither a file nor a directory: %w", rel, dir, unix.EACCES)
	}
	return reopen(found, flags)
}

func restoreOffset(fd int, f wire.File) error {
	if f.Offset == 0 || f.PathOnly {
		return nil
	}
	if _, err := unix.Seek(fd, int64(f.Offset), unix.SEEK_SET); err != nil {
		return fmt.Errorf("seek in %s: %w", f.Path, err)
	}
	return nil
}

func openFlags(f wire.File) int {
	flags := unix.O_RDONLY
	switch {
	case f.PathOnly:
		flags = unix.O_PATH
	case f.Read && f.Write:
		flags = unix.O_RDWR
	case f.Write:
		flags = unix.O_WRONLY
	}
	if f.Append {
		flags |= unix.O_APPEND
	}
	if f.NonBlock {
		flags |= unix.O_NONBLOCK
	}
	if f.Directory {
		flags |= unix.O_DIRECTORY
	}
	return flags | unix.O_NOCTTY
}

// openDevice opens a device that every machine has.
func openDevice(f wire.File) (int, error) {
	if !policy.IsDevice(f.Path) {
		return -1, fmt.Errorf("device %s: %w", f.Path, unix.EACCES)
	}
	fd, err := unix.Open(f.Path, openFlags(f)|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", f.Path, err)
	}
	return fd, nil
}

// sendContent sends a file that nobody can change.
func sendContent(st *session.Stream, fd int, size int64) {
	file := os.NewFile(uintptr(fd), "passed file")
	defer file.Close()
	if _, err := io.Copy(st, io.NewSectionReader(file, 0, size)); err != nil {
		st.Reset(fmt.Errorf("read passed file: %w", err))
		return
	}
	st.Close()
}

// receiveContent makes a memfd of what sendContent sends.
func receiveContent(st *session.Stream, f wire.File) (int, error) {
	defer st.Close()
	if f.Size > policy.MaxContent {
		return -1, fmt.Errorf("file of %d bytes, more than %d", f.Size, policy.MaxContent)
	}
	fd, err := unix.MemfdCreate("udsbridge", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, fmt.Errorf("make memfd: %w", err)
	}
	file := os.NewFile(uintptr(fd), "memfd")
	defer file.Close()
	n, err := io.Copy(file, io.LimitReader(st, int64(f.Size)+1))
	if err == nil && n != int64(f.Size) {
		err = fmt.Errorf("%w: %d bytes instead of %d", wire.ErrMalformed, n, f.Size)
	}
	if err != nil {
		return -1, fmt.Errorf("receive file: %w", err)
	}
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return -1, fmt.Errorf("seal memfd: %w", err)
	}
	if f.Read && !f.Write {
		own, err := reopen(fd, unix.O_RDONLY)
		return own, errors.Join(err, restoreOffset(own, f))
	}
	own, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("duplicate memfd: %w", err)
	}
	return own, restoreOffset(own, f)
}

// pointsDir is where the peer's files are mounted, below the runtime directory.
const pointsDir = "f"

// clearRuntime takes away what a killed bridge has left below the runtime directory.
func (b *Bridge) clearRuntime() error {
	if b.runtime == "" {
		return nil
	}
	dir := filepath.Join(b.runtime, pointsDir)
	points, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, p := range points {
		path := filepath.Join(dir, p.Name())
		// It need not be mounted any more.
		_ = unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		err = errors.Join(err, os.Remove(path))
	}
	if err != nil {
		return fmt.Errorf("remove old mount points: %w", err)
	}
	return nil
}

// takeServed opens a file that the peer serves.
func (p *peer) takeServed(st *session.Stream, f wire.File) (int, error) {
	if p.b.files == nil || p.b.runtime == "" {
		err := fmt.Errorf("file %s of the peer: files are not served here", f.Path)
		st.Reset(err)
		return -1, err
	}
	dir := filepath.Join(p.b.runtime, pointsDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		st.Reset(err)
		return -1, fmt.Errorf("make directory for mount points: %w", err)
	}
	path := filepath.Join(dir, strconv.FormatUint(p.b.points.Add(1), 10))
	fd, err := p.b.files.Take(p.ctx, st, path, openFlags(f))
	if err != nil {
		return -1, fmt.Errorf("open file %s of the peer: %w", f.Path, err)
	}
	if err := restoreOffset(fd, f); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
