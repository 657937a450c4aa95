// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/rexec/wire"
)

// failure is an error with the kind the client is told.
type failure struct {
	reason wire.Reason
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(reason wire.Reason, format string, args ...any) error {
	return &failure{reason, fmt.Errorf(format, args...)}
}

// program is an open executable.
type program struct {
	file *os.File
	path string
	// script is set if the kernel has another program read the file, by a name
	// that must still mean it then.
	script bool
}

// firstFD is the least number of a program's descriptor in this process. All
// that a client may ask for are below it.
const firstFD = 1024

// openProgram opens the first of paths that exists. Everything that is asked of
// it from then on is asked of the descriptor.
func openProgram(paths []string, name string) (*program, error) {
	for _, path := range paths {
		f, err := openHigh(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return nil, fail(wire.ReasonNotExecutable, "%w", err)
		}
		p := &program{file: f, path: path}
		if err := p.inspect(); err != nil {
			f.Close()
			return nil, fail(wire.ReasonNotExecutable, "%s: %w", path, err)
		}
		return p, nil
	}
	return nil, fail(wire.ReasonNotFound, "%s: %w", name, unix.ENOENT)
}

// openHigh opens a file with a descriptor beyond those of programs.
func openHigh(path string, flags int) (*os.File, error) {
	low, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(low)
	fd, err := unix.FcntlInt(uintptr(low), unix.F_DUPFD_CLOEXEC, firstFD)
	if err != nil {
		return nil, &os.PathError{Op: "dup", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (p *program) fd() int { return int(p.file.Fd()) }

// inspect refuses what is no program, and what anybody could have changed.
func (p *program) inspect() error {
	var st unix.Stat_t
	if err := unix.Fstat(p.fd(), &st); err != nil {
		return err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return errors.New("not a regular file")
	case st.Mode&0o111 == 0:
		return unix.EACCES
	case st.Mode&0o002 != 0:
		return errors.New("anybody may change it")
	}
	var magic [4]byte
	n, err := p.file.ReadAt(magic[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	p.script = !bytes.Equal(magic[:n], []byte("\x7fELF"))
	return nil
}

// verify compares the file's digest with the one it must have.
func (p *program) verify(digest string) error {
	if digest == "" {
		return nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(p.file, 0, 1<<40)); err != nil {
		return fmt.Errorf("read %s: %w", p.path, err)
	}
	want, err := hex.DecodeString(digest)
	if err != nil || !bytes.Equal(h.Sum(nil), want) {
		return fail(wire.ReasonDenied, "%s does not have the digest that the allow-list names", p.path)
	}
	return nil
}

// link returns a path under which the descriptor fd of whoever uses it is
// executed. The kernel takes a process's name (comm) from its last part, which
// is why it is not /proc/self/fd itself. at is the descriptor that the user has
// of execDir: by it he needs no leave to walk there. An interpreter does not
// have it, and walks.
func (s *Server) link(p *program, fd, at int) (string, error) {
	path, err := s.makeLink(p, fd)
	if err != nil || p.script {
		return path, err
	}
	return filepath.Join(selfFD(at), strconv.Itoa(fd), filepath.Base(p.path)), nil
}

func (s *Server) makeLink(p *program, fd int) (string, error) {
	dir := filepath.Join(s.execDir, strconv.Itoa(fd))
	path := filepath.Join(dir, filepath.Base(p.path))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.links[path] {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", fmt.Errorf("make directory of program names: %w", err)
	}
	err := os.Symlink("/proc/self/fd/"+strconv.Itoa(fd), path)
	if err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("give program a name: %w", err)
	}
	s.links[path] = true
	return path, nil
}
