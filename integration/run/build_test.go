// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"strings"
	"testing"
)

// TestBuild holds that an image can be made of files of the DPU, and of what commands change in a container.
func TestBuild(t *testing.T) {
	leavesNothing(t)
	dir := dpuDir(t)
	write(t, dir+"/tree/deep/file", "from the context\n")
	for _, c := range []struct{ name, file, script, out string }{
		{
			"copy", "COPY tree /tree\nCOPY --chown=1234:5678 tree/deep/file /owned\nENV WORD=said\nWORKDIR /tree/deep\nCMD [\"cat\", \"file\"]\n",
			"", "from the context",
		},
		{
			"owner", "COPY --chown=1234:5678 tree/deep/file /owned\n",
			"stat -c %u:%g /owned", "1234:5678",
		},
		{
			"run", "COPY tree /tree\nRUN mkdir /made && sed s/context/build/ /tree/deep/file > /made/file && rm -r /tree\n",
			"cat /made/file; test -e /tree || echo removed", "from the build\nremoved",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			write(t, dir+"/Dockerfile", "FROM "+image("busybox")+"\n"+c.file)
			tag := strings.ToLower(name(t))
			build := "DOCKER_BUILDKIT=0 docker build -q --force-rm -t " + tag + " " + dir
			must(t, "sh", "-c", build)
			t.Cleanup(func() { docker(t, "image", "rm", "-f", tag) })
			args := []string{"run", "--rm", tag}
			if c.script != "" {
				args = append(args, "sh", "-c", c.script)
			}
			if out := docker(t, args...); out != c.out {
				t.Errorf("%q, not %q", out, c.out)
			}
		})
	}
}

// TestSave holds that an image which was changed here can be written to a file, and read back.
func TestSave(t *testing.T) {
	leavesNothing(t)
	dir := dpuDir(t)
	write(t, dir+"/Dockerfile", "FROM "+image("busybox")+"\nCOPY Dockerfile /saved\n")
	must(t, "sh", "-c", "DOCKER_BUILDKIT=0 docker build -q --force-rm -t saved "+dir)
	t.Cleanup(func() { docker(t, "image", "rm", "-f", "saved") })
	docker(t, "save", "-o", dir+"/saved.tar", "saved")
	docker(t, "image", "rm", "saved")
	docker(t, "load", "-q", "-i", dir+"/saved.tar")
	if out := docker(t, "run", "--rm", "saved", "cat", "/saved"); !strings.Contains(out, "COPY Dockerfile /saved") {
		t.Errorf("%q", out)
	}
}
