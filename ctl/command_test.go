// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/configs"
)

// result is what a run of the program left.
type result struct {
	code           int
	stdout, stderr string
}

func run(t *testing.T, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := Run(t.Context(), args, &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"pkii", `unknown command "pkii" of offloadctl, did you mean pki?`},
		{"config chekc", `unknown command "chekc" of offloadctl config, did you mean check?`},
		{"config check --dup x", "unknown flag: --dup"},
		{"pki init extra", `unknown command "extra" for "offloadctl pki init"`},
		{"pki init --days 0", "--days 0: certificates must be good for a day at least"},
		{"pki init --days x", `invalid argument "x" for "--days" flag`},
		{"version -o xml", `"xml" is not known; use text or json`},
		{"completion ksh", `invalid argument "ksh" for "offloadctl completion"`},
		{"man", "--dir is needed"},
	} {
		t.Run(c.args, func(t *testing.T) {
			got := run(t, strings.Fields(c.args)...)
			assert.Equal(t, ExitUsage, got.code)
			assert.Empty(t, got.stdout)
			assert.Contains(t, got.stderr, c.want)
			assert.Regexp(t, `\nSee "offloadctl.* --help"\.\n$`, got.stderr)
		})
	}
}

// Every command says what it is for and shows how it is used.
func TestEveryCommandHasExamples(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		assert.NotEmpty(t, cmd.Short, cmd.CommandPath())
		if !cmd.HasSubCommands() {
			assert.Contains(t, cmd.Example, cmd.CommandPath(), cmd.CommandPath())
		}
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(New())
}

func TestPKI(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	got := run(t, "pki", "init", "--dir", dir, "--days", "10", "--san", "host.example", "--san", "10.0.0.2")
	require.Equal(t, result{0, strings.Join([]string{
		dir + "/ca.crt", dir + "/ca.key", dir + "/host.crt", dir + "/host.key", dir + "/dpu.crt", dir + "/dpu.key", "",
	}, "\n"), ""}, got)

	got = run(t, "pki", "show", "--dir", dir, "-o", "json")
	require.Zero(t, got.code, got.stderr)
	var shown []certificate
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &shown))
	require.Len(t, shown, 3)
	assert.True(t, shown[0].Authority)
	assert.Equal(t, []string{"dpu"}, shown[1].Roles)
	assert.Equal(t, []string{"host"}, shown[2].Roles)
	assert.Equal(t, []string{"host.example", "10.0.0.2"}, shown[2].Names)

	got = run(t, "pki", "show", dir+"/dpu.crt")
	assert.Regexp(t, `dpu\.crt  dpu   offload dpu  -      \d{4}-\d\d-\d\d \(in 9 days\)`, got.stdout)
	assert.NotContains(t, got.stdout, "\x1b", "colours without a terminal")

	got = run(t, "pki", "renew", "dpu", "--dir", dir)
	require.Equal(t, result{0, dir + "/dpu.crt\n" + dir + "/dpu.key\n" + dir + "/dpu.crt.old\n", ""}, got)
	got = run(t, "pki", "revoke", "--dir", dir, dir+"/dpu.crt.old")
	require.Equal(t, result{0, dir + "/revoked.crl\n", ""}, got)
	got = run(t, "pki", "show", "--dir", dir, dir+"/dpu.crt.old", dir+"/dpu.crt")
	assert.Regexp(t, `dpu\.crt\.old +dpu +offload dpu +- +revoked \d{4}-\d\d-\d\d `, got.stdout)
	assert.Regexp(t, `dpu\.crt +dpu +offload dpu +- +\d{4}-\d\d-\d\d  `, got.stdout)
	got = run(t, "pki", "revoke", "--dir", dir, dir+"/dpu.key")
	assert.Equal(t, result{1, "", "offloadctl: revoke certificates: " + dir + "/dpu.key: there is no certificate in it\n"}, got)

	got = run(t, "pki", "init", "--dir", dir)
	assert.Equal(t, ExitFailure, got.code)
	assert.Contains(t, got.stderr, dir+"/ca.crt: file already exists")

	got = run(t, "pki", "show", dir+"/dpu.key")
	assert.Equal(t, result{1, "", "offloadctl: show certificates: " + dir + "/dpu.key: there is no certificate in it\n"}, got)
	got = run(t, "pki", "show", "--dir", t.TempDir())
	assert.Equal(t, ExitFailure, got.code)
	assert.Contains(t, got.stderr, "there is no certificate in")
}

func TestConfig(t *testing.T) {
	for name, want := range map[string]string{
		"containerd": configs.Containerd, "dockerd": configs.Dockerd, "dpu": configs.DPU, "host": configs.Host,
	} {
		assert.Equal(t, result{0, want, ""}, run(t, "config", name), name)
	}
}

func TestConfigCheck(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "dpu.toml")
	require.NoError(t, os.WriteFile(path, []byte("version = 1\n[link]\nadress = 'x'\ninsecure = 3\n"), 0o600))
	got := run(t, "config", "check", "--dpu", path)
	assert.Equal(t, result{1, path + ":3:1: unknown key link.adress, did you mean link.address?\n" +
		path + ":4:12: link.insecure: want true or false, not a number\n", ""}, got)

	got = run(t, "config", "check", "--dpu", path, "-o", "json")
	assert.Equal(t, ExitFailure, got.code)
	var problems []problem
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &problems))
	assert.Equal(t, problem{File: path, Line: 4, Column: 12, Key: "link.insecure", Text: "want true or false, not a number"}, problems[1])

	missing := filepath.Join(dir, "host.toml")
	got = run(t, "config", "check", "--host", missing)
	assert.Equal(t, ExitFailure, got.code)
	assert.Contains(t, got.stdout, "no such file or directory")

	// A certificate of the wrong end is found though it can be read.
	require.Zero(t, run(t, "pki", "init", "--dir", dir).code)
	require.NoError(t, os.WriteFile(missing, []byte("version = 1\n[link]\nlisten = 'tcp://127.0.0.1:1'\n[link.tls]\n"+
		"ca = '"+dir+"/ca.crt'\ncert = '"+dir+"/dpu.crt'\nkey = '"+dir+"/dpu.key'\n"), 0o600))
	got = run(t, "config", "check", "--host", missing)
	assert.Equal(t, ExitFailure, got.code)
	assert.Contains(t, got.stdout, "want offload://host")

	good := filepath.Join(dir, "good.toml")
	require.NoError(t, os.WriteFile(good, []byte("version = 1\nlink.address = 'unix:///run/l.sock'\n"), 0o600))
	assert.Equal(t, result{0, good + ": ok\n", ""}, run(t, "config", "check", "--dpu", good))
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		got := run(t, "completion", shell)
		assert.Zero(t, got.code)
		// Each shell's script asks the program itself.
		assert.True(t, strings.Contains(got.stdout, "__complete") && strings.Contains(got.stdout, "offloadctl"), shell)
	}
	assert.Contains(t, run(t, "__complete", "config", "").stdout, "containerd\t")
}

func TestManual(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man8")
	require.Zero(t, run(t, "man", "--dir", dir).code)
	for page, want := range map[string]string{
		"offloadctl.8": "NAME", "offloadctl-pki-init.8": "--san", "offload-dpu.8": "--config", "offload-host.8": "/etc/offload/host.toml",
	} {
		text, err := os.ReadFile(filepath.Join(dir, page))
		require.NoError(t, err)
		assert.Contains(t, string(text), want, page)
	}
}
