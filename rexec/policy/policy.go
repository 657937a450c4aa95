// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"path"
	"time"
)

// Version is the version of the file's form.
const Version = 1

// Policy is an allow-list. It is not changed once loaded and may be shared.
type Policy struct {
	Version int `toml:"version"`
	// Path are the directories in which a program without a slash is looked for.
	Path []string `toml:"path"`
	// MaxRuns bounds how many programs run at a time, 1 to 4096.
	MaxRuns int `toml:"max_runs"`
	// Grace is how long a program may go on after SIGHUP when its client is gone.
	Grace Duration `toml:"grace"`
	// Env has NAME=VALUE entries that every program gets.
	Env   []string `toml:"env"`
	Rules []Rule   `toml:"allow"`
}

// Rule allows some runs.
type Rule struct {
	// Program is an absolute path or a pattern of such.
	Program string `toml:"program"`
	// Args has a pattern for each argument after the program's name. The last may
	// be "...", for any number of any arguments. Not given, it allows all.
	Args *[]string `toml:"args"`
	// Users are the names or numbers of the users the program may run as. The
	// first is taken if the client asks for none. Not given, it is root.
	Users []string `toml:"users"`
	// Groups are those a client may ask for beside the user's own; "*" is any.
	Groups []string `toml:"groups"`
	// Env are patterns for names of variables the client may set.
	Env []string `toml:"env"`
	// Cwd are patterns for working directories. Not given, every one is allowed.
	Cwd *[]string `toml:"cwd"`
	// Terminal and Detach allow a terminal, and to live on without the client.
	Terminal *bool `toml:"terminal"`
	Detach   *bool `toml:"detach"`
	// Rlimits are the names of limits that the client may set.
	Rlimits []string `toml:"rlimits"`
	// SHA256 is the digest of the program's file, in hexadecimal digits.
	SHA256 string `toml:"sha256"`
}

// Duration is a time.Duration that is written as text, such as "10s".
type Duration time.Duration

// UnmarshalText parses what time.ParseDuration takes.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// MarshalText returns what UnmarshalText takes.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// defaults is what an empty file stands for.
func defaults() *Policy {
	return &Policy{
		Path:    []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"},
		MaxRuns: 256,
		Grace:   Duration(10 * time.Second),
	}
}

// defaultEnv is what a rule without env lets the client set.
var defaultEnv = []string{"TERM", "LANG", "LC_*", "TZ", "COLUMNS", "LINES", "COLORTERM", "NO_COLOR"}

// Candidates returns the paths at which a program may be, in the order in which
// they are to be looked for. Those that no rule names are left out.
func (p *Policy) Candidates(program string) []string {
	if path.IsAbs(program) {
		return []string{path.Clean(program)}
	}
	var out []string
	for _, dir := range p.Path {
		if c := path.Join(dir, program); p.names(c) {
			out = append(out, c)
		}
	}
	return out
}

// names reports whether a rule is about a program.
func (p *Policy) names(program string) bool {
	for i := range p.Rules {
		if match(p.Rules[i].Program, program) {
			return true
		}
	}
	return false
}
