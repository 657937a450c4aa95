// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What the HOST's configuration says of an export holds on the DPU.
func TestExportOptions(t *testing.T) {
	p := newPair(t, `[[export]]
name = "limited"
path = "DIR/limited"
allow = "readdir,create,open,write"
squash = "7:8"
`)
	require.NoError(t, os.Mkdir(p.dir+"/limited", 0o755))
	require.NoError(t, os.Chown(p.dir+"/limited", 7, 8))
	p.runHost(t)
	p.runDPU(t)
	p.report(t, up)
	at := p.dir + "/at"
	code, _, errs := p.offloadctl(t, "mount", "add", "limited", p.dir+"/limited", at, "--options", "nosuid")
	require.Zero(t, code, errs)
	require.NoError(t, os.WriteFile(at+"/file", []byte("x"), 0o644))
	_, err := os.ReadFile(at + "/file")
	assert.ErrorIs(t, err, unix.EPERM)
	assert.ErrorIs(t, os.Remove(at+"/file"), unix.EPERM)
	var st unix.Stat_t
	require.NoError(t, unix.Stat(p.dir+"/limited/file", &st))
	assert.Equal(t, [2]uint32{7, 8}, [2]uint32{st.Uid, st.Gid})
}
