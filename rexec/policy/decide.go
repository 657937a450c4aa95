// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrDenied is wrapped by the errors of Decide.
var ErrDenied = errors.New("not allowed")

// Request is a run as far as the allow-list is about it.
type Request struct {
	// Program is the absolute, clean path; Args are those after the name.
	Program string
	Args    []string
	// User is a name or number, or empty. Groups are those beside the user's own.
	User   string
	Groups []string
	// Env are names the client insists on.
	Env []string
	// Cwd is the absolute path, or empty if the client asks for none.
	Cwd      string
	Terminal bool
	Detach   bool
	Rlimits  []string
}

// Decision says on which terms a run is allowed.
type Decision struct {
	// Rule is the number of the rule that allows it, from 1.
	Rule int
	// User is whom to run it as.
	User string
	// SHA256 is the digest the file must have, or empty.
	SHA256 string

	env []string
	cwd *[]string
}

// AllowsEnv reports whether the client may set a variable.
func (d *Decision) AllowsEnv(name string) bool { return matchEnv(d.env, name) }

// AllowsCwd reports whether the client may use a working directory.
func (d *Decision) AllowsCwd(dir string) bool { return d.cwd == nil || matchAny(*d.cwd, dir) }

// Decide returns the decision of the first rule that allows a run. The error
// wraps ErrDenied and names what the rule that came closest does not allow. Two
// users are the same if same says so.
func (p *Policy) Decide(r Request, same func(a, b string) bool) (*Decision, error) {
	best, reason := -1, errors.New("no rule names it")
	for i := range p.Rules {
		rule := &p.Rules[i]
		if !match(rule.Program, r.Program) {
			continue
		}
		d, step, err := rule.decide(r, same)
		if err == nil {
			d.Rule = i + 1
			return d, nil
		}
		if step > best {
			best, reason = step, fmt.Errorf("rule %d does not allow %w", i+1, err)
		}
	}
	return nil, &DeniedError{Program: r.Program, Reason: reason}
}

// DeniedError says why a run is not allowed. It wraps ErrDenied.
type DeniedError struct {
	Program string
	Reason  error
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("%s is %v: %v", e.Program, ErrDenied, e.Reason)
}

// Is reports whether target is ErrDenied.
func (e *DeniedError) Is(target error) bool { return target == ErrDenied }

// decide tries one rule. On error it returns how many of its conditions held.
func (rule *Rule) decide(r Request, same func(a, b string) bool) (*Decision, int, error) {
	d := &Decision{User: r.User, SHA256: rule.SHA256, env: rule.Env, cwd: rule.Cwd}
	if rule.Env == nil {
		d.env = defaultEnv
	}
	users := rule.Users
	if len(users) == 0 {
		users = []string{"root"}
	}
	if d.User == "" {
		d.User = users[0]
	}
	if rule.Args != nil && !matchArgs(*rule.Args, r.Args) {
		return nil, 0, errors.New("these arguments")
	}
	if !slices.ContainsFunc(users, func(u string) bool { return u == "*" || same(u, d.User) }) {
		return nil, 1, fmt.Errorf("user %q", d.User)
	}
	for _, g := range r.Groups {
		if !slices.Contains(rule.Groups, "*") && !slices.Contains(rule.Groups, g) {
			return nil, 2, fmt.Errorf("group %q", g)
		}
	}
	for _, name := range r.Env {
		if !d.AllowsEnv(name) {
			return nil, 3, fmt.Errorf("variable %q", name)
		}
	}
	if r.Cwd != "" && !d.AllowsCwd(r.Cwd) {
		return nil, 4, fmt.Errorf("working directory %q", r.Cwd)
	}
	if r.Terminal && !allowed(rule.Terminal) {
		return nil, 5, errors.New("a terminal")
	}
	if r.Detach && !allowed(rule.Detach) {
		return nil, 6, errors.New("to go on without a client")
	}
	for _, name := range r.Rlimits {
		if !slices.Contains(rule.Rlimits, "*") && !slices.Contains(rule.Rlimits, name) {
			return nil, 7, fmt.Errorf("limit %q to be set", name)
		}
	}
	return d, 0, nil
}

func allowed(v *bool) bool { return v == nil || *v }

// anyMore as the last pattern for arguments stands for any further ones.
const anyMore = "..."

func matchArgs(patterns, args []string) bool {
	for i, p := range patterns {
		if p == anyMore && i == len(patterns)-1 {
			return true
		}
		if i >= len(args) || !matchText(p, args[i]) {
			return false
		}
	}
	return len(args) == len(patterns)
}

// loaderVariables change what a program loads or runs. A pattern never covers
// them: they must be named.
var loaderVariables = []string{
	"LD_*", "GLIBC_TUNABLES", "GCONV_PATH", "LOCPATH", "NLSPATH", "BASH_ENV", "ENV", "BASH_FUNC_*", "SHELLOPTS", "PS4",
	"IFS", "PATH", "HOME", "SHELL", "USER", "LOGNAME", "PYTHON*", "PERL*", "RUBY*", "NODE_*", "JAVA_TOOL_OPTIONS", "TMPDIR",
}

func matchEnv(patterns []string, name string) bool {
	if slices.Contains(patterns, name) {
		return true
	}
	for _, p := range loaderVariables {
		if matchText(p, name) {
			return false
		}
	}
	return slices.ContainsFunc(patterns, func(p string) bool { return matchText(p, name) })
}

func matchAny(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return match(pattern, p) })
}

// EnvName returns the name of a NAME=VALUE entry.
func EnvName(entry string) string {
	name, _, _ := strings.Cut(entry, "=")
	return name
}
