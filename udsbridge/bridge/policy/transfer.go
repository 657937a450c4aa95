// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/udsbridge/bridge/wire"
)

// Facts are what the kernel tells about a descriptor.
type Facts struct {
	// Mode is st_mode, Flags what F_GETFL gives, Device st_rdev.
	Mode   uint32
	Flags  int
	Device uint64
	// Name is what /proc/self/fd names it.
	Name string
	// Links is st_nlink.
	Links uint64
	// Domain and Type are a socket's, Listening and Connected its state.
	Domain, Type         int
	Listening, Connected bool
	Terminal             bool
	// Seals are a memfd's, HasSeals says that it is one.
	Seals    int
	HasSeals bool
	// Offset and Size are a file's, in bytes. Offset is also an eventfd's count.
	Offset, Size uint64
	Semaphore    bool
	// PeerPath is the file's path on the peer if it lies on a mount of the peer's
	// files, else "".
	PeerPath string
}

// UnpassableError says that a descriptor can't be passed to the other machine.
type UnpassableError struct {
	// Name is what /proc/self/fd names it.
	Name   string
	Reason string
}

func (e *UnpassableError) Error() string {
	return fmt.Sprintf("descriptor of %s can't be passed to the peer: %s", e.Name, e.Reason)
}

// MaxContent bounds what is passed as content, in bytes.
const MaxContent = 64 << 20

// Transfer decides what a descriptor becomes at the peer, which opens files in dirs
// by path.
func Transfer(f Facts, dirs []string) (wire.File, error) {
	out := wire.File{NonBlock: f.Flags&unix.O_NONBLOCK != 0, Mode: f.Mode & 0o7777}
	switch f.Flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		out.Read = true
	case unix.O_WRONLY:
		out.Write = true
	default:
		out.Read, out.Write = true, true
	}
	out.Append = f.Flags&unix.O_APPEND != 0
	refuse := func(format string, args ...any) (wire.File, error) {
		return wire.File{}, &UnpassableError{f.Name, fmt.Sprintf(format, args...)}
	}
	switch f.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		if out.Read && out.Write {
			return refuse("it is a FIFO open for both reading and writing, which has no other end")
		}
		out.Kind, out.Append, out.Mode = wire.FilePipe, false, 0
		return out, nil
	case unix.S_IFSOCK:
		return socket(f, out)
	case unix.S_IFREG, unix.S_IFDIR:
		return file(f, out, dirs)
	case unix.S_IFCHR:
		return device(f, out)
	case unix.S_IFBLK:
		return refuse("it is a block device")
	}
	if f.Name == "anon_inode:[eventfd]" {
		out.Kind, out.Offset, out.Semaphore, out.Mode = wire.FileEvent, f.Offset, f.Semaphore, 0
		return out, nil
	}
	return refuse("it has a meaning on its own machine only")
}

func socket(f Facts, out wire.File) (wire.File, error) {
	refuse := func(reason string) (wire.File, error) { return wire.File{}, &UnpassableError{f.Name, reason} }
	out.Kind, out.Mode, out.Append = wire.FileSocket, 0, false
	out.Read, out.Write = true, true
	switch {
	case f.Listening:
		return refuse("it is a listening socket; list its path instead")
	case !f.Connected:
		return refuse("it is a socket that is not connected")
	case f.Type == unix.SOCK_STREAM && (f.Domain == unix.AF_UNIX || f.Domain == unix.AF_INET || f.Domain == unix.AF_INET6 || f.Domain == unix.AF_VSOCK):
		out.Socket = wire.Stream
	case f.Domain == unix.AF_UNIX && f.Type == unix.SOCK_SEQPACKET:
		out.Socket = wire.SeqPacket
	case f.Domain == unix.AF_UNIX && f.Type == unix.SOCK_DGRAM:
		out.Socket = wire.Datagram
	default:
		return refuse("only stream sockets, and message sockets of the unix family, can be")
	}
	return out, nil
}

func file(f Facts, out wire.File, dirs []string) (wire.File, error) {
	out.Offset, out.Size = f.Offset, f.Size
	out.Directory = f.Mode&unix.S_IFMT == unix.S_IFDIR
	out.PathOnly = f.Flags&unix.O_PATH != 0
	if out.PathOnly {
		out.Read, out.Write, out.Append = false, false, false
	}
	if f.PeerPath != "" && f.Links > 0 {
		for _, dir := range dirs {
			if _, ok := Below(f.PeerPath, dir); ok {
				out.Kind, out.Path, out.Mode, out.Size = wire.FilePath, f.PeerPath, 0, 0
				return out, nil
			}
		}
	}
	out.Path = filepath.Base(strings.TrimSuffix(f.Name, " (deleted)"))
	switch {
	case out.PathOnly:
		return wire.File{}, &UnpassableError{f.Name, "it was opened with O_PATH and is not the peer's own file"}
	case f.HasSeals && f.Seals&unix.F_SEAL_WRITE != 0 && f.Size <= MaxContent:
		out.Kind = wire.FileContent
	default:
		out.Kind = wire.FileServed
	}
	return out, nil
}

// devices are those that are alike on every machine, by st_rdev.
var devices = map[uint64]string{
	unix.Mkdev(1, 3): "/dev/null",
	unix.Mkdev(1, 5): "/dev/zero",
	unix.Mkdev(1, 7): "/dev/full",
	unix.Mkdev(1, 8): "/dev/random",
	unix.Mkdev(1, 9): "/dev/urandom",
}

func device(f Facts, out wire.File) (wire.File, error) {
	if path, ok := devices[f.Device]; ok {
		out.Kind, out.Path, out.Mode = wire.FileDevice, path, 0
		return out, nil
	}
	if f.Terminal {
		out.Kind, out.Mode, out.Append = wire.FileTerminal, 0, false
		return out, nil
	}
	return wire.File{}, &UnpassableError{f.Name, "it is a device of its own machine"}
}

// IsDevice reports whether path is one that a peer may ask for as a FileDevice.
func IsDevice(path string) bool {
	for _, p := range devices {
		if p == path {
			return true
		}
	}
	return false
}

// PeerPath translates a path here that lies on a mount of the peer's files, with
// the mount's source ("host:/PATH"), root and mount point as in
// /proc/self/mountinfo. It returns "" if the mount is not such a one.
func PeerPath(path, source, root, mountpoint string) string {
	_, export, ok := strings.Cut(source, ":")
	if !ok || !strings.HasPrefix(export, "/") {
		return ""
	}
	rel, ok := Below(path, filepath.Clean(mountpoint))
	if !ok {
		return ""
	}
	return filepath.Join(export, root, rel)
}
