// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/ctl"
	"github.com/container-offload/offload/status"
)

// mount8 is mount(8) on a machine where the helper is installed, which is this
// program.
func (p *pair) mount8(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	helpers := t.TempDir()
	require.NoError(t, os.Symlink(self, filepath.Join(helpers, ctl.MountHelperName)))
	// The daemon mounts elsewhere: what is mounted here does not count.
	cmd := exec.CommandContext(t.Context(), "unshare", append([]string{"--mount", "sh", "-c",
		`mount -t overlay -o "lowerdir=$0:/sbin" helpers /sbin && exec mount -t fuse.remotefs "$@"`, helpers}, args...)...)
	return cmd
}

func (p *pair) added(t *testing.T, n int) []status.Mount {
	t.Helper()
	return p.report(t, func(r *status.Report) bool { return up(r) && len(r.Mounts) == 2+n }).Mounts[2:]
}

func TestMountHelper(t *testing.T) {
	p := newPair(t, "")
	p.runHost(t)
	stop := p.runDPU(t)
	at := p.dir + "/with mount(8)"
	out, err := p.mount8(t, "host:"+p.dir+"/data/sub", at, "-o", "nosuid,noexec,_netdev,cache=none,config="+p.dpuFile).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.FileExists(t, at+"/file")
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(at, &st))
	assert.EqualValues(t, unix.ST_NOSUID|unix.ST_NOEXEC, st.Flags&(unix.ST_NOSUID|unix.ST_NOEXEC|unix.ST_NODEV|unix.ST_RDONLY))
	assert.Equal(t, "host:"+p.dir+"/data/sub", p.added(t, 1)[0].Source)

	// It outlives the daemon, and no umount(8).
	stop()
	stop = p.runDPU(t)
	p.added(t, 1)
	assert.FileExists(t, at+"/file")
	out, err = exec.CommandContext(t.Context(), "umount", at).CombinedOutput()
	require.NoError(t, err, "%s", out)
	p.added(t, 0)
	assert.NoFileExists(t, at+"/file")
	stop()
	p.runDPU(t)
	p.added(t, 0)

	// What the configuration says comes back.
	require.NoError(t, unix.Unmount(p.dir+"/data-of-host", 0))
	p.report(t, func(r *status.Report) bool {
		_, err := os.Stat(p.dir + "/data-of-host/sub/file")
		return up(r) && err == nil
	})
}

// The helper waits for the daemon and for the HOST, as it has to at boot.
func TestMountHelperWaits(t *testing.T) {
	p := newPair(t, "")
	at := p.dir + "/at"
	cmd := p.mount8(t, "host:"+p.dir+"/data", at, "-o", "ro,retry=60,config="+p.dpuFile)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	p.runDPU(t)
	p.report(t, func(*status.Report) bool { return true })
	p.runHost(t)
	require.NoError(t, cmd.Wait(), "%s", out.String())
	assert.ErrorIs(t, os.WriteFile(at+"/sub/file", nil, 0o644), unix.EROFS)
}

func TestMountHelperFails(t *testing.T) {
	p := newPair(t, "")
	p.runHost(t)
	p.runDPU(t)
	p.report(t, up)
	for _, c := range []struct {
		status int
		says   string
		args   []string
	}{
		{32, "no such file", []string{"host:/nowhere/exported", p.dir + "/x", "-o", "config=" + p.dpuFile}},
		{32, "no such file", []string{"host:" + p.dir + "/data/nothing", p.dir + "/x", "-o", "config=" + p.dpuFile}},
		{32, "already exists", []string{"host:" + p.dir + "/data", p.dir + "/data-of-host", "-o", "config=" + p.dpuFile}},
		{1, "not host:PATH", []string{"server:/data", p.dir + "/x"}},
		{1, `"async2" is not known`, []string{"host:/data", p.dir + "/x", "-o", "async2"}},
		{1, "retry=x", []string{"host:/data", p.dir + "/x", "-o", "retry=x"}},
		{1, "", []string{"host:data", p.dir + "/x"}},
		{1, "a mount point are needed", []string{"host:/data"}},
		{1, "namespace", []string{"host:/data", p.dir + "/x", "-N", "/proc/1/ns/mnt"}},
		{1, "Usage: mount", nil},
		{0, "", []string{"host:/data", p.dir + "/x", "-sfnv", "-t", "fuse.remotefs"}},
	} {
		var errs strings.Builder
		assert.Equal(t, c.status, ctl.MountHelper(t.Context(), c.args, &errs), "%s: %s", c.args, errs.String())
		assert.Contains(t, errs.String(), c.says)
	}
	p.added(t, 0)
}
