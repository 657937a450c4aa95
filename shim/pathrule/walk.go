// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package pathrule

import (
	"errors"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links one path may have: the kernel's own bound.
const maxLinks = 40

// open opens what is at p with O_PATH. led tells that the HOST had a say in where
// p leads: that a symbolic link on one of its mounts was followed, or that ".." was
// taken from one, where the HOST says what is in what.
func open(p string) (fd int, led bool, err error) {
	names := strings.Split(p, "/")
	if !slices.Contains(names, "..") {
		// Nearly always there is no link, and the kernel makes sure of it.
		how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
		fd, err := unix.Openat2(unix.AT_FDCWD, p, &how)
		if !errors.Is(err, unix.ELOOP) {
			return fd, false, err
		}
	}
	w := walk{at: -1}
	if err := w.run(names); err != nil {
		w.move(-1)
		return -1, false, err
	}
	return w.at, w.led, nil
}

// walk goes a path's way name by name.
type walk struct {
	at    int // O_PATH
	led   bool
	links int
}

// move makes fd, which it takes over, where the walk is.
func (w *walk) move(fd int) {
	if w.at >= 0 {
		unix.Close(w.at)
	}
	w.at = fd
}

// run walks to an absolute path.
func (w *walk) run(names []string) error {
	if err := w.restart(); err != nil {
		return err
	}
	for len(names) > 0 {
		name := names[0]
		names = names[1:]
		if name == "" || name == "." {
			continue
		}
		target, err := w.step(name)
		if err != nil {
			return err
		}
		if target == "" {
			continue
		}
		if w.links++; w.links > maxLinks {
			return unix.ELOOP
		}
		if path.IsAbs(target) {
			if err := w.restart(); err != nil {
				return err
			}
		}
		names = append(strings.Split(target, "/"), names...)
	}
	return nil
}

func (w *walk) restart() error {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	w.move(fd)
	return nil
}

// step goes to name, or returns the target if it is a symbolic link.
func (w *walk) step(name string) (target string, err error) {
	if name == ".." {
		hosts, err := isHosts(w.at)
		if err != nil {
			return "", err
		}
		w.led = w.led || hosts
	}
	fd, err := unix.Openat(w.at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	st, err := statOf(fd)
	if err != nil {
		unix.Close(fd)
		return "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		w.move(fd)
		return "", nil
	}
	defer unix.Close(fd)
	return w.follow(name, fd)
}

// follow returns the target of the link that fd is, or goes there if it is one of
// procfs, which has more to it than a target.
func (w *walk) follow(name string, link int) (target string, err error) {
	hosts, err := isHosts(link)
	if err != nil {
		return "", err
	}
	w.led = w.led || hosts
	if !hosts {
		// The kernel may forbid to follow it: see fs.protected_symlinks in proc_sys_fs(5).
		fd, err := unix.Openat(w.at, name, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", err
		}
		if fs, err := fsOf(link); err == nil && fs == unix.PROC_SUPER_MAGIC {
			w.move(fd)
			return "", nil
		}
		unix.Close(fd)
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(link, "", buf)
	switch {
	case err != nil:
		return "", err
	case n == 0:
		return "", unix.ENOENT
	}
	return string(buf[:n]), nil
}

func fsOf(fd int) (int64, error) {
	var st unix.Statfs_t
	err := unix.Fstatfs(fd, &st)
	return st.Type, err
}

// isHosts tells whether a file is on a mount of the HOST's files.
func isHosts(fd int) (bool, error) {
	st, err := statOf(fd)
	if err != nil {
		return false, err
	}
	m, err := mountByID(int(st.Mnt_id))
	if err != nil {
		return false, err
	}
	return m.FSType == FSType && strings.HasPrefix(m.Source, sourcePrefix), nil
}
