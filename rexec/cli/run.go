// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/rexec/client"
	"github.com/container-offload/offload/rexec/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// usualEnv are the variables that are passed on if the server lets them pass.
var usualEnv = []string{"TERM", "LANG", "TZ", "COLUMNS", "LINES", "COLORTERM", "NO_COLOR"}

// runFlags are the flags of a run.
type runFlags struct {
	dialing
	fds        []int
	terminal   bool
	noTerminal bool
	noInput    bool
	env        []string
	envAll     bool
	envNone    bool
	cwd        string
	user       string
	groups     []string
	umask      string
	rlimits    []string
	detach     bool
	background bool
}

func (r *runFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.IntSliceVar(&r.fds, "fd", nil, "pass descriptor `N` too, under the same number (may be repeated)")
	f.BoolVarP(&r.terminal, "tty", "t", false, "give the program a terminal")
	f.BoolVarP(&r.noTerminal, "no-tty", "T", false, "give the program no terminal")
	f.BoolVarP(&r.noInput, "no-input", "n", false, "give the program no standard input")
	f.StringArrayVarP(&r.env, "env", "e", nil, "set variable `NAME[=VALUE]`, by default to its value here (may be repeated)")
	f.BoolVar(&r.envAll, "env-all", false, "pass on every variable that the server allows")
	f.BoolVar(&r.envNone, "env-none", false, "pass on no variable but those of --env")
	f.StringVarP(&r.cwd, "cwd", "C", "", "run in directory `DIR`, which must exist there")
	f.StringVarP(&r.user, "user", "u", "", "run as `USER[:GROUP]`, names or numbers")
	f.StringSliceVar(&r.groups, "groups", nil, "supplementary `GROUPS` in place of the user's, separated by commas")
	f.StringVar(&r.umask, "umask", "", "file mode creation `MASK`, octal (default: the one here)")
	f.StringArrayVar(&r.rlimits, "rlimit", nil, "set limit `NAME=SOFT[:HARD]`, such as nofile=1024 (may be repeated)")
	f.BoolVarP(&r.detach, "detach", "d", false, "let the program live on when this process ends")
	f.BoolVarP(&r.background, "background", "b", false, "print the run's id and end at once; implies --detach")
	cmd.MarkFlagsMutuallyExclusive("tty", "no-tty")
	cmd.MarkFlagsMutuallyExclusive("env-all", "env-none")
}

// run runs a program and returns how it ended as an *endedError.
func (r *runFlags) run(ctx context.Context, command []string) error {
	m, err := r.message(command)
	if err != nil {
		return err
	}
	sess, err := r.connect(ctx)
	if err != nil {
		return err
	}
	if r.background {
		return r.start(ctx, sess, m)
	}
	o := client.Options{Files: r.fds, NoInput: r.noInput}
	switch {
	case r.terminal:
		o.Terminal = client.TerminalAlways
	case r.noTerminal:
		o.Terminal = client.TerminalNever
	}
	// The session is not closed: it ends with this process, which takes no time.
	status, err := client.Run(ctx, sess, m, o)
	if err != nil {
		return fmt.Errorf("run %s: %w", command[0], err)
	}
	if *status == (wire.Exited{}) {
		return nil
	}
	return &endedError{*status}
}

func (r *runFlags) start(ctx context.Context, sess *session.Session, m *wire.Run) error {
	s, err := client.Background(ctx, sess, m)
	if err != nil {
		return fmt.Errorf("run %s: %w", m.Program, err)
	}
	fmt.Println(s.ID)
	return sess.Close()
}

// message says what to run.
func (r *runFlags) message(command []string) (*wire.Run, error) {
	m := &wire.Run{
		Program: command[0], Args: command, Detach: r.detach,
		Caller: "uid " + strconv.Itoa(os.Getuid()) + " pid " + strconv.Itoa(os.Getpid()),
	}
	m.User, m.Group, _ = strings.Cut(r.user, ":")
	if r.groups != nil {
		m.GroupsSet = true
		m.Groups = slices.DeleteFunc(slices.Clone(r.groups), func(g string) bool { return g == "" })
	}
	if err := r.setDir(m); err != nil {
		return nil, err
	}
	if err := r.setUmask(m); err != nil {
		return nil, err
	}
	r.setEnv(m)
	for _, l := range r.rlimits {
		limit, err := parseRlimit(l)
		if err != nil {
			return nil, err
		}
		m.Rlimits = append(m.Rlimits, limit)
	}
	return m, nil
}

func (r *runFlags) setDir(m *wire.Run) error {
	dir, err := os.Getwd()
	if r.cwd == "" {
		m.Dir, m.DirOptional = dir, true
		if err != nil {
			m.Dir = "/"
		}
		return nil
	}
	m.Dir = r.cwd
	if !filepath.IsAbs(r.cwd) {
		if err != nil {
			return fmt.Errorf("working directory %s: %w", r.cwd, err)
		}
		m.Dir = filepath.Join(dir, r.cwd)
	}
	return nil
}

func (r *runFlags) setUmask(m *wire.Run) error {
	if r.umask == "" {
		mask := unix.Umask(0)
		unix.Umask(mask)
		m.Umask = uint16(mask) & 0o777
		return nil
	}
	mask, err := strconv.ParseUint(r.umask, 8, 16)
	if err != nil || mask > 0o777 {
		return fmt.Errorf("umask %q is not an octal number up to 777", r.umask)
	}
	m.Umask = uint16(mask)
	return nil
}

func (r *runFlags) setEnv(m *wire.Run) {
	for _, e := range r.env {
		if name, _, ok := strings.Cut(e, "="); ok {
			m.Env = append(m.Env, e)
		} else if v, ok := os.LookupEnv(name); ok {
			m.Env = append(m.Env, name+"="+v)
		}
	}
	if r.envNone {
		return
	}
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if r.envAll || slices.Contains(usualEnv, name) || strings.HasPrefix(name, "LC_") {
			m.EnvOptional = append(m.EnvOptional, e)
		}
	}
}

func parseRlimit(s string) (wire.Rlimit, error) {
	name, values, ok := strings.Cut(s, "=")
	soft, hard, two := strings.Cut(values, ":")
	if !two {
		hard = soft
	}
	l := wire.Rlimit{Name: strings.ToLower(name)}
	_, err := wire.RlimitResource(name)
	if err == nil {
		l.Soft, err = parseLimit(soft)
	}
	if err == nil {
		l.Hard, err = parseLimit(hard)
	}
	if err == nil && !ok {
		err = errors.New("write NAME=SOFT[:HARD]")
	}
	if err != nil {
		return l, fmt.Errorf("limit %q: %w", s, err)
	}
	return l, nil
}

func parseLimit(s string) (uint64, error) {
	if s == "unlimited" {
		return wire.Unlimited, nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q is neither a number nor \"unlimited\"", s)
	}
	return n, nil
}
