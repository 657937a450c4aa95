// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/container-offload/offload/udsbridge/bridge/wire"
)

// Technique is how programs here are led to the peer's sockets.
type Technique string

// The techniques.
const (
	// Mirror listens at the same paths as the peer's sockets.
	Mirror Technique = "mirror"
	// Hook leaves the paths alone and leads connect(2) elsewhere.
	Hook Technique = "hook"
)

// Connect is a rule of the connecting side: sockets at or below Path live on the
// peer.
type Connect struct {
	// Path is absolute and clean, or @NAME.
	Path string
	// PeerPath is what Path is on the peer; "" if it is the same.
	PeerPath  string
	Technique Technique
}

// Peer returns the path on the peer of Path.
func (c Connect) Peer() string {
	if c.PeerPath == "" {
		return c.Path
	}
	return c.PeerPath
}

// Validate reports what is wrong with the rule.
func (c Connect) Validate() error {
	if err := validatePath("path", c.Path); err != nil {
		return err
	}
	if err := validatePath("path on the peer", c.Peer()); err != nil {
		return err
	}
	abstract := strings.HasPrefix(c.Path, "@")
	switch {
	case abstract != strings.HasPrefix(c.Peer(), "@"):
		return fmt.Errorf("path %s and path on the peer %s: either both are abstract or none is", c.Path, c.Peer())
	case c.Technique != Mirror && c.Technique != Hook:
		return fmt.Errorf("technique %q is neither %q nor %q", c.Technique, Mirror, Hook)
	case abstract && c.Technique == Hook:
		return fmt.Errorf("%s: an abstract socket is mirrored, not hooked", c.Path)
	}
	return nil
}

func validatePath(what, path string) error {
	if path == "/" {
		return fmt.Errorf("%s: all of / can't be bridged", what)
	}
	if !wire.ValidPath(path) {
		return fmt.Errorf("%s %q is neither a clean absolute path nor @NAME", what, path)
	}
	return nil
}

// Serve is a rule of the serving side: programs of the peer may connect to sockets
// at or below Path.
type Serve struct {
	// Path is absolute and clean, or @NAME.
	Path string
	// As is who they are here.
	As Identity
}

// Validate reports what is wrong with the rule.
func (s Serve) Validate() error { return validatePath("path", s.Path) }

// Identity says as whom the bridge connects for a program of the peer: what the
// socket's permissions and SO_PEERCRED go by.
type Identity struct {
	// Same takes the peer's word for its user and groups.
	Same bool
	// UID and GID are who it is otherwise.
	UID, GID uint32
}

// Nobody is the identity of those who were given none.
var Nobody = Identity{UID: 65534, GID: 65534}

// ParseIdentity parses "same" or "UID:GID".
func ParseIdentity(s string) (Identity, error) {
	if s == "same" {
		return Identity{Same: true}, nil
	}
	u, g, ok := strings.Cut(s, ":")
	uid, uerr := strconv.ParseUint(u, 10, 32)
	gid, gerr := strconv.ParseUint(g, 10, 32)
	if err := errors.Join(uerr, gerr); !ok || err != nil || uid == invalidID || gid == invalidID {
		return Identity{}, fmt.Errorf("%q is neither \"same\" nor UID:GID", s)
	}
	return Identity{UID: uint32(uid), GID: uint32(gid)}, nil
}

// invalidID is (uid_t)-1, which means "leave as it is" to the kernel.
const invalidID = 1<<32 - 1

// String returns the identity as ParseIdentity takes it.
func (i Identity) String() string {
	if i.Same {
		return "same"
	}
	return fmt.Sprintf("%d:%d", i.UID, i.GID)
}

// Map returns who a program of the peer is here.
func (i Identity) Map(who wire.Credentials) (wire.Credentials, error) {
	if !i.Same {
		return wire.Credentials{UID: i.UID, GID: i.GID, Groups: []uint32{i.GID}}, nil
	}
	for _, id := range append([]uint32{who.UID, who.GID}, who.Groups...) {
		if id == invalidID {
			return wire.Credentials{}, errors.New("user or group of the peer's program is not a number a user can have")
		}
	}
	return who, nil
}

// Allowed returns the rule that covers a path and the path below the rule's, "" if
// it is the same. The rule with the longest path counts.
func Allowed(rules []Serve, path string) (rule Serve, rel string, ok bool) {
	for _, r := range rules {
		below, within := Below(path, r.Path)
		if within && (!ok || len(r.Path) > len(rule.Path)) {
			rule, rel, ok = r, below, true
		}
	}
	return rule, rel, ok
}

// Below reports whether path is dir or lies below it, and what of it is below. Both
// are clean.
func Below(path, dir string) (rel string, ok bool) {
	if path == dir {
		return "", true
	}
	if strings.HasPrefix(dir, "@") {
		return "", false
	}
	if dir == "/" {
		return strings.TrimPrefix(path, "/"), strings.HasPrefix(path, "/")
	}
	return strings.CutPrefix(path, dir+"/")
}

// Overlap reports whether two rules' paths share a socket: one lies below the other.
func Overlap(a, b string) bool {
	_, ab := Below(a, b)
	_, ba := Below(b, a)
	return ab || ba
}

// Join returns the path of a name below a prefix.
func Join(prefix, name string) string {
	if name == "" {
		return prefix
	}
	return filepath.Join(prefix, name)
}

// Validate reports what is wrong with a side's rules taken together: a socket must
// not be both served and expected from the peer, or a connection would go round in
// circles.
func Validate(connect []Connect, serve []Serve) error {
	for i, c := range connect {
		if err := c.Validate(); err != nil {
			return err
		}
		for _, other := range connect[:i] {
			if Overlap(c.Path, other.Path) {
				return fmt.Errorf("%s and %s overlap", other.Path, c.Path)
			}
		}
		for _, s := range serve {
			if Overlap(c.Path, s.Path) {
				return fmt.Errorf("%s is expected from the peer and %s is served to it: they overlap", c.Path, s.Path)
			}
		}
	}
	for _, s := range serve {
		if err := s.Validate(); err != nil {
			return err
		}
	}
	return nil
}
