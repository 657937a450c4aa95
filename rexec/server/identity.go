// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/rexec/wire"
)

// identity is whom a program runs as.
type identity struct {
	name     string
	uid, gid uint32
	groups   []uint32
	home     string
}

// lookupUser finds a user by name or number.
func lookupUser(who string) (*user.User, error) {
	u, err := user.Lookup(who)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		if _, convErr := strconv.ParseUint(who, 10, 32); convErr == nil {
			return user.LookupId(who)
		}
	}
	return u, err
}

// sameUser reports whether two names or numbers mean one user.
func sameUser(a, b string) bool {
	return a == b || userID(a) == userID(b)
}

// userID returns the number of a user, or what was given if there is none.
func userID(who string) string {
	if u, err := lookupUser(who); err == nil {
		return u.Uid
	}
	return who
}

func lookupGroup(name string) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fail(wire.ReasonInvalid, "%w", err)
	}
	n, err := strconv.ParseUint(g.Gid, 10, 32)
	return uint32(n), err
}

// identify resolves who the program runs as. A user without an entry in the
// user database needs a group.
func identify(who, group string, groupsSet bool, groups []string) (*identity, error) {
	id, own, err := identifyUser(who)
	if err != nil {
		return nil, err
	}
	if group != "" {
		if id.gid, err = lookupGroup(group); err != nil {
			return nil, err
		}
	} else if own == nil {
		return nil, fail(wire.ReasonInvalid, "user %s has no entry here, so a group must be given", who)
	}
	if !groupsSet {
		if own != nil {
			groups, err = own.GroupIds()
			if err != nil {
				return nil, fmt.Errorf("groups of user %s: %w", who, err)
			}
		}
	}
	for _, g := range groups {
		n, err := lookupGroup(g)
		if err != nil {
			return nil, err
		}
		id.groups = append(id.groups, n)
	}
	return id, nil
}

func identifyUser(who string) (*identity, *user.User, error) {
	u, err := lookupUser(who)
	if err != nil {
		n, convErr := strconv.ParseUint(who, 10, 32)
		if convErr != nil {
			return nil, nil, fail(wire.ReasonInvalid, "%w", err)
		}
		return &identity{name: who, uid: uint32(n), home: "/"}, nil, nil
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, nil, fmt.Errorf("user %s: %w", who, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, nil, fmt.Errorf("user %s: %w", who, err)
	}
	return &identity{name: u.Username, uid: uint32(uid), gid: uint32(gid), home: u.HomeDir}, u, nil
}

// mayEnter reports whether the mode of a directory lets the user in. What else
// may stand against it shows when the program is started.
func (id *identity) mayEnter(dir *os.File) bool {
	st := new(unix.Stat_t)
	if id.uid == 0 || unix.Fstat(int(dir.Fd()), st) != nil {
		return true
	}
	switch {
	case st.Uid == id.uid:
		return st.Mode&0o100 != 0
	case st.Gid == id.gid, slices.Contains(id.groups, st.Gid):
		return st.Mode&0o010 != 0
	}
	return st.Mode&0o001 != 0
}
