// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/sys/unix"
)

// maxFile bounds the size of an allow-list, in bytes.
const maxFile = 1 << 20

// Load reads an allow-list. It must be a regular file that belongs to root and
// has mode 0400 or 0600, so that nobody else can read it or change it.
func Load(file string) (*Policy, error) {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read allow-list: %w", &os.PathError{Op: "open", Path: file, Err: err})
	}
	f := os.NewFile(uintptr(fd), file)
	defer f.Close()
	if err := checkFile(f); err != nil {
		return nil, fmt.Errorf("read allow-list %s: %w", file, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read allow-list: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("read allow-list %s: it has more than %d bytes", file, maxFile)
	}
	return Parse(file, data)
}

func checkFile(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	mode := st.Mode & 0o7777
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return errors.New("it is not a regular file")
	case st.Uid != 0:
		return fmt.Errorf("it belongs to uid %d, not to root", st.Uid)
	case mode != 0o400 && mode != 0o600:
		return fmt.Errorf("its mode is %#o, not 0400 or 0600", mode)
	}
	return nil
}

// Parse reads an allow-list from data; name says in errors where that is from.
func Parse(name string, data []byte) (*Policy, error) {
	p := defaults()
	d := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("allow-list %s%w", name, place(err))
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("allow-list %s: %w", name, err)
	}
	return p, nil
}

// placed is an error with the line it is about.
type placed struct {
	line, column int
	text         string
}

func (p *placed) Error() string { return fmt.Sprintf(":%d:%d: %s", p.line, p.column, p.text) }

func place(err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		e := unknown.Errors[0]
		line, column := e.Position()
		return &placed{line, column, "unknown key " + strings.Join(e.Key(), ".")}
	}
	var wrong *toml.DecodeError
	if errors.As(err, &wrong) {
		line, column := wrong.Position()
		return &placed{line, column, strings.TrimPrefix(wrong.Error(), "toml: ")}
	}
	return fmt.Errorf(": %w", err)
}

// check reports everything that can't work.
func (p *Policy) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if p.Version != Version {
		bad("version: write version = %d", Version)
	}
	if p.MaxRuns < 1 || p.MaxRuns > 4096 {
		bad("max_runs: %d is out of range, 1 to 4096", p.MaxRuns)
	}
	if g := time.Duration(p.Grace); g < 0 || g > time.Hour {
		bad("grace: %s is out of range, 0s to 1h", g)
	}
	for _, dir := range p.Path {
		if !path.IsAbs(dir) {
			bad("path: %q is not absolute", dir)
		}
	}
	for _, e := range p.Env {
		if i := strings.IndexByte(e, '='); i < 1 || strings.IndexByte(e, 0) >= 0 {
			bad("env: %q is not NAME=VALUE", e)
		}
	}
	for i := range p.Rules {
		if err := p.Rules[i].check(); err != nil {
			bad("rule %d: %w", i+1, err)
		}
	}
	return errors.Join(errs...)
}

func (rule *Rule) check() error {
	if !path.IsAbs(rule.Program) || path.Clean(rule.Program) != rule.Program {
		return fmt.Errorf("program: %q is not a clean absolute path", rule.Program)
	}
	if rule.Args != nil {
		if i := slices.Index(*rule.Args, anyMore); i >= 0 && i != len(*rule.Args)-1 {
			return fmt.Errorf("args: %q must be the last", anyMore)
		}
	}
	if rule.Cwd != nil {
		for _, c := range *rule.Cwd {
			if !path.IsAbs(c) {
				return fmt.Errorf("cwd: %q is not absolute", c)
			}
		}
	}
	if rule.SHA256 != "" {
		if b, err := hex.DecodeString(rule.SHA256); err != nil || len(b) != 32 {
			return fmt.Errorf("sha256: %q is not 64 hexadecimal digits", rule.SHA256)
		}
	}
	if len(rule.Users) > 0 && rule.Users[0] == "*" {
		return errors.New("users: \"*\" can't be the first, which is the default")
	}
	return nil
}
