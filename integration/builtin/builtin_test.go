// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package builtin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/integration/lab"
)

func TestMain(m *testing.M) {
	lab.RunChild()
	os.Exit(m.Run())
}

// program is the main of a containerd with the plugins.
const program = `package main

import (
	"context"
	"fmt"
	"os"

	_ "github.com/container-offload/offload/plugins/builtin"
	_ "github.com/containerd/containerd/v2/cmd/containerd/builtins"
	"github.com/containerd/containerd/v2/cmd/containerd/command"
)

func main() {
	if err := command.App().Run(context.Background(), os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "containerd:", err)
		os.Exit(1)
	}
}
`

// configuration is that containerd's. There is no proxy plugin in it.
const configuration = `version = 4
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"]

[plugins.'io.containerd.offload.link.v1.offload']
  config = '/etc/offload/dpu.toml'
  root = '/run/offload/host'

[plugins.'io.containerd.service.v1.diff-service']
  default = ['offload', 'walking']

[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
  platform = 'linux/amd64'
  snapshotter = 'offload'
  differ = 'offload'
`

// build builds the program in a module that uses this repository.
func build(t *testing.T) string {
	t.Helper()
	repository, err := filepath.Abs("../..")
	require.NoError(t, err)
	dir := t.TempDir()
	module, err := os.ReadFile(filepath.Join(repository, "go.mod"))
	require.NoError(t, err)
	const name = "github.com/container-offload/offload"
	text := strings.Replace(string(module), "module "+name, "module site.example/containerd", 1) +
		fmt.Sprintf("\nrequire %s v0.0.0\nreplace %s => %s\n", name, name, repository)
	sums, err := os.ReadFile(filepath.Join(repository, "go.sum"))
	require.NoError(t, err)
	for file, content := range map[string][]byte{"go.mod": []byte(text), "go.sum": sums, "main.go": []byte(program)} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), content, 0o644))
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-o", "containerd-site", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return filepath.Join(dir, "containerd-site")
}

func TestContainerdWithThePlugins(t *testing.T) {
	binary, err := os.ReadFile(build(t))
	require.NoError(t, err)
	l, err := lab.Open(t.Context(), lab.Options{Kind: lab.Offload})
	require.NoError(t, err)
	t.Cleanup(func() {
		id := l.ID()
		assert.NoError(t, l.Close())
		traces, err := lab.Traces(id)
		assert.NoError(t, err)
		assert.Empty(t, traces, "left on the machine")
	})
	for _, p := range []*lab.Process{l.Dockerd, l.Containerd} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		require.NoError(t, p.Stop(ctx))
		cancel()
	}
	const path, file, socket = "/root/containerd-site", "/etc/containerd/site.toml", "/run/containerd/containerd.sock"
	require.NoError(t, l.DPU.WriteFile(path, binary, 0o755))
	require.NoError(t, l.DPU.WriteFile(file, []byte(configuration), 0o644))
	site, err := l.DPU.Start(t.Context(), lab.Daemon{
		Name: "containerd-site", Argv: []string{path, "--config", file}, Ready: l.DPU.Accepts("unix", socket), Patience: time.Minute,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := site.Stop(ctx); err != nil && !errors.Is(err, os.ErrProcessDone) {
			assert.NoError(t, err)
		}
	})

	ctr := func(args ...string) string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := l.DPU.Command(ctx, append([]string{"ctr"}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	plugins := ctr("plugins", "ls", "id~=offload")
	for _, kind := range []string{"io.containerd.snapshotter.v1", "io.containerd.differ.v1", "io.containerd.offload.link.v1"} {
		assert.Regexp(t, strings.ReplaceAll(kind, ".", `\.`)+`\s+offload\s+\S+\s+ok`, plugins)
	}
	image := l.Image("busybox")
	ctr("images", "pull", "--plain-http", "--snapshotter", "offload", image)
	assert.Contains(t, ctr("snapshots", "--snapshotter", "offload", "ls"), "Committed")
	out := ctr("run", "--rm", "--snapshotter", "offload", "--runtime", "io.containerd.offload.v1", image, "c1", "sh", "-c", "hostname; echo over there")
	assert.Contains(t, out, "over there")
	assert.NotContains(t, ctr("snapshots", "--snapshotter", "offload", "ls"), "Active", "the container's snapshot is left")
}
