// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/moby/sys/mountinfo"

	"github.com/container-offload/offload/udsbridge/bridge/policy"
)

// remoteFS is the type of mounts whose files are the peer's.
const remoteFS = "fuse.remotefs"

// factsOf asks the kernel about a descriptor.
func factsOf(fd int) (policy.Facts, error) {
	var f policy.Facts
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return f, fmt.Errorf("look at descriptor: %w", err)
	}
	f.Mode, f.Device, f.Links, f.Size = st.Mode, uint64(st.Rdev), uint64(st.Nlink), uint64(max(st.Size, 0)) //nolint:unconvert // their types differ by architecture
	var err error
	if f.Flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil {
		return f, fmt.Errorf("flags of descriptor: %w", err)
	}
	if f.Name, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err != nil {
		return f, fmt.Errorf("name of descriptor: %w", err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return factsOfSocket(fd, f)
	case unix.S_IFCHR:
		_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		f.Terminal = err == nil
	case unix.S_IFREG, unix.S_IFDIR:
		return factsOfFile(fd, f)
	case 0:
		return factsOfEvent(fd, f)
	}
	return f, nil
}

func factsOfSocket(fd int, f policy.Facts) (policy.Facts, error) {
	var errs [3]error
	f.Domain, errs[0] = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	f.Type, errs[1] = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	var listening int
	listening, errs[2] = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err := errors.Join(errs[:]...); err != nil {
		return f, fmt.Errorf("look at socket: %w", err)
	}
	f.Listening = listening != 0
	_, err := unix.Getpeername(fd)
	f.Connected = err == nil
	return f, nil
}

func factsOfFile(fd int, f policy.Facts) (policy.Facts, error) {
	if f.Flags&unix.O_PATH == 0 {
		if offset, err := unix.Seek(fd, 0, unix.SEEK_CUR); err == nil {
			f.Offset = uint64(offset)
		}
		if seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err == nil {
			f.Seals, f.HasSeals = seals, true
		}
	}
	info, err := fdInfo(fd)
	if err != nil {
		return f, err
	}
	f.PeerPath, err = peerPath(info["mnt_id"], f.Name)
	return f, err
}

func factsOfEvent(fd int, f policy.Facts) (policy.Facts, error) {
	info, err := fdInfo(fd)
	if err != nil {
		return f, err
	}
	// It is hexadecimal.
	f.Offset, _ = strconv.ParseUint(info["eventfd-count"], 16, 64)
	f.Semaphore = info["eventfd-semaphore"] == "1"
	return f, nil
}

// fdInfo reads /proc/self/fdinfo.
func fdInfo(fd int) (map[string]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return nil, fmt.Errorf("look at descriptor: %w", err)
	}
	info := make(map[string]string)
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		if key, value, ok := strings.Cut(sc.Text(), ":"); ok {
			info[key] = strings.TrimSpace(value)
		}
	}
	return info, nil
}

// peerPath returns the path on the peer of a file on a mount, "" if it isn't the
// peer's.
func peerPath(mount, path string) (string, error) {
	id, err := strconv.Atoi(mount)
	if err != nil {
		return "", nil
	}
	found, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.ID != id, m.ID == id
	})
	if err != nil {
		return "", fmt.Errorf("mounts: %w", err)
	}
	if len(found) == 0 || found[0].FSType != remoteFS {
		return "", nil
	}
	return policy.PeerPath(path, found[0].Source, found[0].Root, found[0].Mountpoint), nil
}
