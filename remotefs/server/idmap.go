// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// IDRange says that Count ids that clients see and use, from Client on, are those
// of this machine from Server on.
type IDRange struct{ Client, Server, Count uint32 }

// mapIDs has the kernel translate the ids of a mount that is not attached to
// anything (see mount_setattr(2), MOUNT_ATTR_IDMAP): owners that are seen, given
// and asked for by access lists, and those of new files. Files of others show as
// the overflow user's and can't be changed or given to.
func mapIDs(mount int, uids, gids []IDRange) error {
	ns, err := userNamespace(uids, gids)
	if err != nil {
		return fmt.Errorf("make a user namespace of the ids: %w", err)
	}
	defer ns.Close()
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}
	if err := unix.MountSetattr(mount, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("map ids on this file system: %w", err)
	}
	return nil
}

// userNamespace makes a user namespace, which lasts as long as the file.
func userNamespace(uids, gids []IDRange) (*os.File, error) {
	// A process is made for it that never gets to run its program. Whoever
	// traces it must be one thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := os.StartProcess("/proc/self/exe", []string{"remotefs-ids"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: idMappings(uids), GidMappings: idMappings(gids),
		GidMappingsEnableSetgroups: true, Ptrace: true, Pdeathsig: unix.SIGKILL,
	}})
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = p.Kill()
		_, _ = p.Wait()
	}()
	return os.Open(fmt.Sprintf("/proc/%d/ns/user", p.Pid))
}

func idMappings(ranges []IDRange) []syscall.SysProcIDMap {
	out := make([]syscall.SysProcIDMap, 0, len(ranges))
	for _, r := range ranges {
		out = append(out, syscall.SysProcIDMap{ContainerID: int(r.Server), HostID: int(r.Client), Size: int(r.Count)})
	}
	return out
}

// mayGive fails if the file is of somebody whom clients don't know by any id: the
// kernel would let this process give it away.
func (n *node) mayGive() error {
	if len(n.exp.UIDs) == 0 {
		return nil
	}
	st, err := statFD(n.fd)
	if err != nil {
		return err
	}
	if !known(n.exp.UIDs, st.Uid) || !known(n.exp.GIDs, st.Gid) {
		return unix.EPERM
	}
	return nil
}

func known(ranges []IDRange, id uint32) bool {
	for _, r := range ranges {
		if id >= r.Client && id-r.Client < r.Count {
			return true
		}
	}
	return false
}
