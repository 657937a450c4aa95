// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const list = `
version = 1
[[allow]]
program = "/usr/bin/ps"
args = ["aux", "..."]
[[allow]]
program = "/usr/bin/ps"
args = []
users = ["nobody"]
[[allow]]
program = "/opt/tools/**"
args = ["--file", "/srv/*", "?"]
users = ["root", "1000"]
groups = ["audio"]
env = ["LC_*", "LD_PRELOAD", "*"]
cwd = ["/srv/**", "/tmp"]
terminal = false
detach = false
rlimits = ["nofile"]
[[allow]]
program = "/usr/sbin/*"
users = ["root", "*"]
groups = ["*"]
rlimits = ["*"]
`

func same(a, b string) bool { return a == b }

func TestDecide(t *testing.T) {
	p, err := Parse("list", []byte(list))
	require.NoError(t, err)
	tool := Request{Program: "/opt/tools/a/b", Args: []string{"--file", "/srv/x/y", "z"}, Cwd: "/srv/a"}
	with := func(change func(*Request)) Request {
		r := tool
		change(&r)
		return r
	}
	for _, c := range []struct {
		name string
		r    Request
		rule int
		user string
		want string
	}{
		{"not named", Request{Program: "/usr/bin/psx"}, 0, "", "/usr/bin/psx is not allowed: no rule names it"},
		{"first rule", Request{Program: "/usr/bin/ps", Args: []string{"aux"}}, 1, "root", ""},
		{"any more", Request{Program: "/usr/bin/ps", Args: []string{"aux", "a", "b"}}, 1, "root", ""},
		{"second rule", Request{Program: "/usr/bin/ps"}, 2, "nobody", ""},
		{"arguments", Request{Program: "/usr/bin/ps", Args: []string{"-e"}}, 0, "", "/usr/bin/ps is not allowed: rule 1 does not allow these arguments"},
		{"the closest rule tells", Request{Program: "/usr/bin/ps", User: "root"}, 0, "", "/usr/bin/ps is not allowed: rule 2 does not allow user \"root\""},
		{"tool", tool, 3, "root", ""},
		{"tool as another", with(func(r *Request) { r.User = "1000" }), 3, "1000", ""},
		{"tool as a third", with(func(r *Request) { r.User = "1001" }), 0, "", "/opt/tools/a/b is not allowed: rule 3 does not allow user \"1001\""},
		{"too few arguments", with(func(r *Request) { r.Args = r.Args[:2] }), 0, "", "/opt/tools/a/b is not allowed: rule 3 does not allow these arguments"},
		{"too many", with(func(r *Request) { r.Args = append(r.Args[:3:3], "") }), 0, "", "/opt/tools/a/b is not allowed: rule 3 does not allow these arguments"},
		{"group", with(func(r *Request) { r.Groups = []string{"audio", "disk"} }), 0, "", "/opt/tools/a/b is not allowed: rule 3 does not allow group \"disk\""},
		{"variable", with(func(r *Request) { r.Env = []string{"LC_ALL", "X", "LD_PRELOAD"} }), 3, "root", ""},
		{"loader's variable", with(func(r *Request) { r.Env = []string{"LD_AUDIT"} }), 0, "", "/opt/tools/a/b is not allowed: rule 3 does not allow variable \"LD_AUDIT\""},
		{"directory", with(func(r *Request) { r.Cwd = "/" }), 0, "", "/opt/tools/a/b is not allowed: rule 3 does not allow working directory \"/\""},
		{"terminal", with(func(r *Request) { r.Terminal = true }), 0, "", "/opt/tools/a/b is not allowed: rule 3 does not allow a terminal"},
		{"detach", with(func(r *Request) { r.Detach = true }), 0, "", "/opt/tools/a/b is not allowed: rule 3 does not allow to go on without a client"},
		{"limit", with(func(r *Request) { r.Rlimits = []string{"nofile", "core"} }), 0, "", "/opt/tools/a/b is not allowed: rule 3 does not allow limit \"core\" to be set"},
		{"all that a rule leaves open", Request{
			Program: "/usr/sbin/x", Args: []string{"any"}, User: "u", Groups: []string{"g"}, Env: []string{"TERM"},
			Cwd: "/any", Terminal: true, Detach: true, Rlimits: []string{"cpu"},
		}, 4, "u", ""},
		{"usual variables only", Request{Program: "/usr/sbin/x", Env: []string{"X"}}, 0, "", "/usr/sbin/x is not allowed: rule 4 does not allow variable \"X\""},
		{"one level", Request{Program: "/usr/sbin/x/y"}, 0, "", "/usr/sbin/x/y is not allowed: no rule names it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := p.Decide(c.r, same)
			if c.want != "" {
				require.ErrorIs(t, err, ErrDenied)
				assert.EqualError(t, err, c.want)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.rule, d.Rule)
			assert.Equal(t, c.user, d.User)
		})
	}
}

func TestCandidates(t *testing.T) {
	p, err := Parse("list", []byte(list))
	require.NoError(t, err)
	assert.Equal(t, []string{"/usr/bin/ps"}, p.Candidates("ps")[len(p.Candidates("ps"))-1:])
	assert.Empty(t, p.Candidates("../opt/tools/x/../../../bin/sh")[:0])
	assert.Equal(t, []string{"/etc/shadow"}, p.Candidates("/usr/sbin/../../etc/shadow"))
	assert.Empty(t, p.Candidates("nonesuch/x"))
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"/a", "/a", true}, {"/a", "/ab", false}, {"/a*", "/a", true}, {"/a*", "/abc", true}, {"/a*", "/a/b", false},
		{"/*/b", "/a/b", true}, {"/*/b", "/a/c/b", false}, {"/**/b", "/a/c/b", true}, {"/**", "/", true},
		{"/a?c", "/abc", true}, {"/a?c", "/a/c", false}, {"/**x*y", "/a/x/b/xy", true}, {"/**x*y", "/a/xy/b", false},
		{"*", "", true}, {"", "", true}, {"", "a", false}, {"/a**", "/a/b/c", true}, {"/**/*.sh", "/a/b/c.sh", true},
		{"/[a]", "/a", false}, {"/a\\*", "/a*", false},
	} {
		assert.Equal(t, c.want, match(c.pattern, c.path), "%q %q", c.pattern, c.path)
	}
	assert.True(t, matchText("*", "/a/b"))
	assert.True(t, matchText("-f?x", "-f/x"))
}

// FuzzMatch holds patterns against regular expressions.
func FuzzMatch(f *testing.F) {
	f.Add("/a/*/b**c?", "/a/x/by/zcd")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if len(pattern) > 50 || len(path) > 200 || strings.ContainsAny(pattern+path, "\n") || !isASCII(pattern+path) {
			return
		}
		var re strings.Builder
		for i := 0; i < len(pattern); i++ {
			switch {
			case strings.HasPrefix(pattern[i:], "**"):
				re.WriteString(".*")
				i++
			case pattern[i] == '*':
				re.WriteString("[^/]*")
			case pattern[i] == '?':
				re.WriteString("[^/]")
			default:
				re.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
			}
		}
		want := regexp.MustCompile("^(?s:" + re.String() + ")$").MatchString(path)
		assert.Equal(t, want, match(pattern, path), "%q %q", pattern, path)
	})
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(list))
	f.Add([]byte("version = 1\npath = ['x']\nmax_runs = 0\ngrace = '-1s'\nenv = ['=']\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse("list", b)
		if err != nil {
			assert.True(t, strings.HasPrefix(err.Error(), "allow-list list:"), err.Error())
			return
		}
		_, _ = p.Decide(Request{Program: "/usr/bin/ps"}, same)
	})
}

func TestBadLists(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "allow-list f: version: write version = 1",
		"version = 2":                         "allow-list f: version: write version = 1",
		"version = 1\nx = 1":                  "allow-list f:2:1: unknown key x",
		"version = 1\n[[allow]]\nprogam='/x'": "allow-list f:3:1: unknown key allow.progam",
		"version = 1\n[[allow]]\n":            "allow-list f: rule 1: program: \"\" is not a clean absolute path",
		"version = 1\nallow = [{program='/a/../b'}]":              "allow-list f: rule 1: program: \"/a/../b\" is not a clean absolute path",
		"version = 1\nallow = [{program='/a', args=['...','b']}]": "allow-list f: rule 1: args: \"...\" must be the last",
		"version = 1\nallow = [{program='/a', cwd=['b']}]":        "allow-list f: rule 1: cwd: \"b\" is not absolute",
		"version = 1\nallow = [{program='/a', sha256='b'}]":       "allow-list f: rule 1: sha256: \"b\" is not 64 hexadecimal digits",
		"version = 1\nallow = [{program='/a', users=['*']}]":      "allow-list f: rule 1: users: \"*\" can't be the first, which is the default",
		"version = 1\nmax_runs = 5000\ngrace = '2h'":              "allow-list f: max_runs: 5000 is out of range, 1 to 4096\ngrace: 2h0m0s is out of range, 0s to 1h",
		"version = 1\npath = ['bin']":                             "allow-list f: path: \"bin\" is not absolute",
		"version = 1\nenv = ['A']":                                "allow-list f: env: \"A\" is not NAME=VALUE",
	} {
		_, err := Parse("f", []byte(text))
		assert.EqualError(t, err, want, text)
	}
}

func TestLoad(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a file of root is needed, and this is not root")
	}
	path := filepath.Join(t.TempDir(), "list")
	require.NoError(t, os.WriteFile(path, []byte(list), 0o600))
	_, err := Load(path)
	require.NoError(t, err)
	for _, mode := range []os.FileMode{0o640, 0o644, 0o700, 0o602, 0o440} {
		require.NoError(t, os.Chmod(path, mode))
		_, err := Load(path)
		assert.ErrorContains(t, err, "not 0400 or 0600")
	}
	require.NoError(t, os.Chmod(path, 0o400))
	_, err = Load(path)
	require.NoError(t, err)
	_, err = Load(filepath.Dir(path))
	assert.ErrorContains(t, err, "it is not a regular file")
}
