// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package pathrule

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// FSType is the file system type that remotefs mounts have in mountinfo.
const FSType = "fuse.remotefs"

// sourcePrefix starts the mount source of a remotefs mount whose files are the
// HOST's; the rest is the HOST path of the mount's root.
const sourcePrefix = "host:"

// Kind is a file's type as far as the rule cares.
type Kind int

// Kinds of files.
const (
	File Kind = iota
	Directory
	Socket
	Device
)

// Place is where a DPU path really is.
type Place struct {
	// File is what is there, opened with O_PATH: it stays what was found whatever
	// becomes of its name. It is the caller's to close.
	File *os.File
	// DPU is the path with symbolic links resolved.
	DPU string
	// Host is the path on the HOST, or empty for a path of the DPU.
	Host string
	// ReadOnly tells that the mount it was found on is read-only.
	ReadOnly bool
	// Root tells that a mount begins here.
	Root bool
	Kind Kind
	// FS is the file system type of the mount.
	FS string
	// Dev and Ino identify the file on the DPU.
	Dev, Ino uint64
}

// Close lets go of the file.
func (p Place) Close() error {
	if p.File == nil {
		return nil
	}
	return p.File.Close()
}

// ErrLeavesHost is a path that the HOST has led to a file of the DPU, by a symbolic
// link on one of its mounts.
var ErrLeavesHost = errors.New("a symbolic link of the HOST leads to a file of the DPU")

// How long a mount of the HOST's files that nobody serves is waited for: offload-dpu
// may just be restarted, and then replaces it.
const (
	servedWithin = 10 * time.Second
	servedAgain  = 20 * time.Millisecond
)

// Resolve finds out what the DPU path p is. It fails if p does not exist or is
// not absolute, and with [ErrLeavesHost] if it is the HOST who made it lead to a
// file that is not the HOST's. If p lies on a mount that has lost the process that
// serves it, it waits some seconds for another.
func Resolve(p string) (Place, error) {
	return whenServed(func() (Place, error) { return resolve(p) }, servedWithin)
}

// whenServed looks again, for as long as limit, while nobody serves what is looked at.
func whenServed(look func() (Place, error), limit time.Duration) (Place, error) {
	for deadline := time.Now().Add(limit); ; time.Sleep(servedAgain) {
		place, err := look()
		dead := errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED) || errors.Is(err, unix.EIO)
		if !dead || time.Now().After(deadline) {
			return place, err
		}
	}
}

func resolve(p string) (_ Place, err error) {
	if !path.IsAbs(p) {
		return Place{}, fmt.Errorf("resolve path %q: not absolute", p)
	}
	fd, led, err := open(p)
	if err != nil {
		return Place{}, fmt.Errorf("resolve path: %w", &os.PathError{Op: "open", Path: p, Err: err})
	}
	// The descriptor pins the file: what is asked of it below is about one
	// file, whatever happens to the path meanwhile.
	file := os.NewFile(uintptr(fd), p)
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	place, err := placeOf(fd)
	if err != nil {
		return Place{}, fmt.Errorf("resolve path %s: %w", p, err)
	}
	if led && place.Host == "" {
		return Place{}, fmt.Errorf("resolve path %s: %w", p, ErrLeavesHost)
	}
	place.File = file
	return place, nil
}

// placeOf says where an open file is.
func placeOf(fd int) (Place, error) {
	actual, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return Place{}, err
	}
	st, err := statOf(fd)
	if err != nil {
		return Place{}, err
	}
	m, err := mountByID(int(st.Mnt_id))
	if err != nil {
		return Place{}, err
	}
	place, err := locate(m, actual)
	if err != nil {
		return Place{}, err
	}
	place.Kind = kindOf(st.Mode)
	place.Dev, place.Ino = unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino
	return place, nil
}

func statOf(fd int) (unix.Statx_t, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_TYPE|unix.STATX_INO|unix.STATX_MNT_ID, &st); err != nil {
		return st, fmt.Errorf("statx: %w", err)
	}
	return st, nil
}

// locate applies the rule to a path with no symbolic links that lies on m.
func locate(m *mountinfo.Info, actual string) (Place, error) {
	place := Place{
		DPU: actual, FS: m.FSType, Root: actual == m.Mountpoint,
		ReadOnly: hasOption(m.Options, "ro") || hasOption(m.VFSOptions, "ro"),
	}
	if m.FSType != FSType {
		return place, nil
	}
	base, ok := strings.CutPrefix(m.Source, sourcePrefix)
	if !ok {
		// A remotefs mount of something other than the HOST's files is served
		// on like any file system of the DPU.
		return place, nil
	}
	if !path.IsAbs(base) {
		return Place{}, fmt.Errorf("remotefs mount %s has source %q, want %s/PATH", m.Mountpoint, m.Source, sourcePrefix)
	}
	rest, ok := cutPath(actual, m.Mountpoint)
	if !ok {
		return Place{}, fmt.Errorf("%s is not below its mount point %s", actual, m.Mountpoint)
	}
	place.Host = path.Join(base, m.Root, rest)
	return place, nil
}

// cutPath returns what is left of p below dir.
func cutPath(p, dir string) (string, bool) {
	if dir == "/" || p == dir {
		return strings.TrimPrefix(p, dir), true
	}
	rest, ok := strings.CutPrefix(p, dir+"/")
	return rest, ok
}

func kindOf(mode uint16) Kind {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return Directory
	case unix.S_IFSOCK:
		return Socket
	case unix.S_IFCHR, unix.S_IFBLK:
		return Device
	}
	return File
}

func mountByID(id int) (*mountinfo.Info, error) {
	infos, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.ID != id, m.ID == id
	})
	if err != nil {
		return nil, fmt.Errorf("read mount table: %w", err)
	}
	if len(infos) == 0 {
		return nil, fmt.Errorf("mount %d is not in the mount table", id)
	}
	return infos[0], nil
}

func hasOption(options, name string) bool {
	for o := range strings.SplitSeq(options, ",") {
		if o == name {
			return true
		}
	}
	return false
}
