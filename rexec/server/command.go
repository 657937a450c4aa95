// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/rexec/policy"
	"github.com/container-offload/offload/rexec/wire"
)

// command is a run that was allowed, ready to be started.
type command struct {
	program    *program
	args       []string
	env        []string
	dir        string
	umask      int
	rlimits    []wire.Rlimit
	identity   *identity
	credential *syscall.Credential
	dirFile    *os.File // keeps dir, which names it
}

func (c *command) close() {
	c.program.file.Close()
	if c.dirFile != nil {
		c.dirFile.Close()
	}
}

// prepare asks the allow-list and resolves everything that a run names.
func prepare(p *policy.Policy, m *wire.Run) (_ *command, err error) {
	if m.Program == "" || len(m.Args) == 0 {
		return nil, fail(wire.ReasonInvalid, "no program is named")
	}
	d, prog, err := decide(p, m)
	if err != nil {
		return nil, err
	}
	c := &command{program: prog, args: m.Args, umask: int(m.Umask), rlimits: m.Rlimits}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if err := prog.verify(d.SHA256); err != nil {
		return nil, err
	}
	if c.identity, err = identify(d.User, m.Group, m.GroupsSet, m.Groups); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		c.credential = &syscall.Credential{Uid: c.identity.uid, Gid: c.identity.gid, Groups: c.identity.groups}
	} else if int(c.identity.uid) != os.Geteuid() {
		return nil, fail(wire.ReasonDenied, "this server is not root and can't run programs as user %s", c.identity.name)
	}
	if err := c.chooseDir(d, m); err != nil {
		return nil, err
	}
	for _, l := range m.Rlimits {
		if _, err := wire.RlimitResource(l.Name); err != nil {
			return nil, fail(wire.ReasonInvalid, "%w", err)
		}
	}
	c.env = environment(p, d, c.identity, m)
	return c, nil
}

// decide finds the program that the allow-list lets the run have.
func decide(p *policy.Policy, m *wire.Run) (*policy.Decision, *program, error) {
	name := m.Program
	if strings.Contains(name, "/") && !path.IsAbs(name) {
		if !path.IsAbs(m.Dir) {
			return nil, nil, fail(wire.ReasonInvalid, "%s: the working directory is not known", name)
		}
		name = path.Join(m.Dir, name)
	}
	candidates := p.Candidates(name)
	if len(candidates) == 0 {
		return nil, nil, fail(wire.ReasonDenied, "%s is %w: no rule names it", name, policy.ErrDenied)
	}
	r := policy.Request{
		Args: m.Args[1:], User: m.User, Groups: slices.Clone(m.Groups),
		Terminal: m.Terminal != nil, Detach: m.Detach || m.Background,
	}
	if m.Group != "" {
		r.Groups = append(r.Groups, m.Group)
	}
	r.Groups = foreign(m.User, r.Groups)
	for _, e := range m.Env {
		r.Env = append(r.Env, policy.EnvName(e))
	}
	if !m.DirOptional {
		r.Cwd = path.Clean(m.Dir)
	}
	for _, l := range m.Rlimits {
		r.Rlimits = append(r.Rlimits, l.Name)
	}
	// What is not allowed is refused before its file is looked at: whether it
	// exists is nobody's business.
	var denied *policy.DeniedError
	allowed := candidates[:0:0]
	for _, candidate := range candidates {
		r.Program = candidate
		if _, err := p.Decide(r, sameUser); err != nil {
			errors.As(err, &denied)
			continue
		}
		allowed = append(allowed, candidate)
	}
	if len(allowed) == 0 {
		denied.Program = name
		return nil, nil, fail(wire.ReasonDenied, "%w", denied)
	}
	prog, err := openProgram(allowed, name)
	if err != nil {
		return nil, nil, err
	}
	r.Program = prog.path
	d, err := p.Decide(r, sameUser)
	if err != nil {
		prog.file.Close()
		return nil, nil, fail(wire.ReasonDenied, "%w", err)
	}
	return d, prog, nil
}

// foreign returns those groups that are not the user's own.
func foreign(who string, groups []string) []string {
	if len(groups) == 0 || who == "" {
		return groups
	}
	u, err := lookupUser(who)
	if err != nil {
		return groups
	}
	own, err := u.GroupIds()
	if err != nil {
		return groups
	}
	return slices.DeleteFunc(groups, func(g string) bool {
		n, err := lookupGroup(g)
		return err == nil && slices.ContainsFunc(own, func(o string) bool { m, err := lookupGroup(o); return err == nil && m == n })
	})
}

// chooseDir opens the working directory, so that it stays the one that was
// allowed, or goes to another one if the client leaves that open.
func (c *command) chooseDir(d *policy.Decision, m *wire.Run) error {
	err := c.openDir(d, m.Dir)
	if err == nil || !m.DirOptional {
		return err
	}
	for _, dir := range []string{c.identity.home, "/"} {
		if c.openDir(d, dir) == nil {
			return nil
		}
	}
	c.dir = "/"
	return nil
}

func (c *command) openDir(d *policy.Decision, dir string) error {
	if !path.IsAbs(dir) {
		return fail(wire.ReasonInvalid, "working directory %q is not absolute", dir)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(wire.ReasonInvalid, "working directory: %w", &os.PathError{Op: "open", Path: dir, Err: err})
	}
	f := os.NewFile(uintptr(fd), dir)
	// The name may have led elsewhere.
	target, err := os.Readlink(selfFD(fd))
	if err == nil && !d.AllowsCwd(target) {
		err = fail(wire.ReasonDenied, "working directory %s is not allowed", target)
	}
	if err != nil {
		f.Close()
		return err
	}
	if !c.identity.mayEnter(f) {
		f.Close()
		return fail(wire.ReasonInvalid, "working directory %s: user %s may not enter it", dir, c.identity.name)
	}
	c.dirFile, c.dir = f, selfFD(fd)
	return nil
}

// environment is what the program gets: what every program here has, what the
// allow-list says, and what it lets the client say.
func environment(p *policy.Policy, d *policy.Decision, id *identity, m *wire.Run) []string {
	env := []string{
		"PATH=" + strings.Join(p.Path, ":"), "HOME=" + id.home, "USER=" + id.name, "LOGNAME=" + id.name,
	}
	at := make(map[string]int)
	for i, e := range env {
		at[policy.EnvName(e)] = i
	}
	add := func(entries []string, check bool) {
		for _, e := range entries {
			name := policy.EnvName(e)
			if name == "" || name == e || check && !d.AllowsEnv(name) {
				continue
			}
			if i, ok := at[name]; ok {
				env[i] = e
				continue
			}
			at[name] = len(env)
			env = append(env, e)
		}
	}
	add(p.Env, false)
	add(m.EnvOptional, true)
	add(m.Env, true)
	return env
}

// explain gives errors of starting a program their kind.
func explain(err error, program string) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fail(wire.ReasonNotFound, "%s: the interpreter it names does not exist", program)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOEXEC), errors.Is(err, unix.EPERM), errors.Is(err, unix.E2BIG):
		return fail(wire.ReasonNotExecutable, "%s: %w", program, err)
	}
	return err
}
