// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLinks(t *testing.T) {
	dir := t.TempDir()
	assert.Empty(t, links(dir), "programs that are not installed")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rexec"), nil, 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "offload-runc"), 0o755))
	assert.Equal(t, []Link{{"ps", filepath.Join(dir, "rexec")}}, links(dir))
}

func TestEnvironment(t *testing.T) {
	t.Setenv("PATH", "/usr/bin")
	t.Setenv("SOME", "thing")
	env := environment()
	assert.Equal(t, "PATH=/proc/fs/bin:/usr/bin", env[0])
	assert.Contains(t, env, "SOME=thing")
	assert.NotContains(t, env, "PATH=/usr/bin")
}
