// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/ctl"
)

// asOffloadctl is the environment variable that makes this program offloadctl.
const asOffloadctl = "OFFLOAD_TEST_AS_OFFLOADCTL"

func TestMain(m *testing.M) {
	if os.Getenv(asOffloadctl) != "" {
		os.Exit(ctl.Run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	if os.Getenv(asHanded) != "" {
		os.Exit(tellHanded())
	}
	if filepath.Base(os.Args[0]) == ctl.MountHelperName {
		os.Exit(ctl.MountHelper(context.Background(), os.Args[1:], os.Stderr))
	}
	os.Exit(m.Run())
}

// runInView runs a script by "offloadctl run" in a machine whose mounts are
// shared as systemd makes them, or private.
func (p *pair) runInView(t *testing.T, propagation, script string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--propagation", propagation,
		"sh", "-c", `before=$(readlink /proc/self/ns/mnt); export before; "$@"; echo "exit $?"; grep -c " /proc/.* fuse.remotefs" /proc/self/mountinfo; true`, "sh",
		self, "run", "--unit", "test", "--dpu", p.dpuFile, "--", "sh", "-c", script)
	cmd.Env = append(os.Environ(), asOffloadctl+"=1")
	return cmd
}

func TestRun(t *testing.T) {
	p := newPair(t, "")
	p.runHost(t)
	p.runDPU(t)
	p.report(t, up)
	out, err := p.runInView(t, "shared", `
set -e
test "$before" != "$(readlink /proc/self/ns/mnt)"
for file in stat meminfo sys/kernel/threads-max; do
	grep -q " /proc/$file .* fuse.remotefs " /proc/self/mountinfo
	test -n "$(cat /proc/$file)"
done
test "$(sed -n 's/^Pid:\t//p' /proc/self/status)" -gt 1
case $PATH in /proc/fs/bin:*) ;; *) exit 9 ;; esac
exit 7`).CombinedOutput()
	require.NoError(t, err, "%s", out)
	text := string(out)
	assert.Contains(t, text, "exit 7\n", "its exit status is the daemon's")
	assert.True(t, strings.HasSuffix(text, "\n0\n"), "files of the HOST are left: %s", text)
	assert.Empty(t, helpers(t, p))
}

// helpers lists the helpers that run for a configuration.
func helpers(t *testing.T, p *pair) []string {
	t.Helper()
	var found []string
	deadline := time.Now().Add(patience)
	for {
		found = nil
		dirs, err := os.ReadDir("/proc")
		require.NoError(t, err)
		for _, d := range dirs {
			if _, err := strconv.Atoi(d.Name()); err != nil {
				continue
			}
			line, err := os.ReadFile("/proc/" + d.Name() + "/cmdline")
			if err == nil && bytes.Contains(line, []byte("keep-view")) && bytes.Contains(line, []byte(p.dpuFile)) {
				found = append(found, d.Name())
			}
		}
		if len(found) == 0 || time.Now().After(deadline) {
			return found
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A mount of the daemon is seen by those outside, as the shims must.
func TestRunShares(t *testing.T) {
	p := newPair(t, "")
	p.runHost(t)
	p.runDPU(t)
	p.report(t, up)
	shared := p.dir + "/shared"
	require.NoError(t, os.Mkdir(shared, 0o755))
	cmd := p.runInView(t, "shared", "mount -t tmpfs seen-outside "+shared)
	// The count of mounts is replaced by those that are looked for.
	for i, arg := range cmd.Args {
		cmd.Args[i] = strings.Replace(arg, `" /proc/.* fuse.remotefs"`, `"seen-outside"`, 1)
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.True(t, strings.HasSuffix(string(out), "exit 0\n1\n"), "%s", out)
}

func TestRunFailures(t *testing.T) {
	p := newPair(t, "")
	for name, c := range map[string]struct{ propagation, want string }{
		"no HOST":        {"shared", "link.sock"},
		"private mounts": {"private", "mount --make-rshared /"},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			out, _ := p.runInView(t, c.propagation, "echo it runs").CombinedOutput()
			assert.Contains(t, string(out), c.want)
			assert.Contains(t, string(out), "exit 1\n")
			assert.NotContains(t, string(out), "it runs")
			assert.Less(t, time.Since(began), 10*time.Second)
			assert.Empty(t, helpers(t, p))
		})
	}
}

// A daemon that runs on while the HOST restarts sees the HOST's files again.
func TestRunOutlivesTheHost(t *testing.T) {
	p := newPair(t, "")
	stop := p.runHost(t)
	p.runDPU(t)
	p.report(t, up)
	cmd := p.runInView(t, "shared", `
echo started
while read word; do
	grep -q " /proc/stat .* fuse.remotefs " /proc/self/mountinfo && cat /proc/stat >/dev/null && echo host || echo own
done`)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	var out safeBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "started") }, patience, 10*time.Millisecond, "%s", &out)
	stop()
	p.runHost(t)
	require.Eventually(t, func() bool {
		before := len(out.String())
		_, err := in.Write([]byte("look\n"))
		require.NoError(t, err)
		for range 100 {
			if answer := out.String()[before:]; strings.HasSuffix(answer, "\n") {
				return strings.HasSuffix(answer, "host\n")
			}
			time.Sleep(10 * time.Millisecond)
		}
		return false
	}, patience, 50*time.Millisecond)
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())
	assert.Empty(t, helpers(t, p))
}
