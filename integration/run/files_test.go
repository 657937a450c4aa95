// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"path/filepath"
	"strings"
	"testing"
)

// dpuDir makes a directory on the DPU that goes away with the test.
func dpuDir(t *testing.T) string {
	t.Helper()
	dir := "/srv/" + name(t)
	must(t, "mkdir", "-p", dir)
	t.Cleanup(func() { must(t, "rm", "-rf", dir) })
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := shared.DPU.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := shared.DPU.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestGeneratedFiles holds that a container has the names that its daemon gave it.
func TestGeneratedFiles(t *testing.T) {
	leavesNothing(t)
	id := start(t, "--hostname", "named", "--add-host", "friend:192.0.2.7", "--dns", "192.0.2.53", image("busybox"), "sleep", "1000")
	for file, text := range map[string]string{
		"/etc/hostname":    "named\n",
		"/etc/hosts":       "192.0.2.7\tfriend",
		"/etc/resolv.conf": "nameserver 192.0.2.53",
	} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			if out := docker(t, "exec", id, "cat", file) + "\n"; !strings.Contains(out, text) {
				t.Errorf("no %q in %q", text, out)
			}
		})
	}
	if out := docker(t, "exec", id, "hostname"); out != "named" {
		t.Errorf("hostname %q", out)
	}
}

// TestBind holds that a directory of the DPU in a container is one and the same from both sides.
func TestBind(t *testing.T) {
	leavesNothing(t)
	dir := dpuDir(t)
	write(t, dir+"/from-dpu", "written on the DPU\n")
	id := start(t, "-v", dir+":/data", image("busybox"), "sleep", "1000")
	in := func(script string) string { return docker(t, "exec", id, "sh", "-c", script) }
	t.Run("read", func(t *testing.T) {
		if out := in("cat /data/from-dpu"); out != "written on the DPU" {
			t.Errorf("%q", out)
		}
	})
	t.Run("written in the container", func(t *testing.T) {
		in("echo inside > /data/from-container")
		if text := read(t, dir+"/from-container"); text != "inside\n" {
			t.Errorf("%q", text)
		}
	})
	t.Run("written on the DPU later", func(t *testing.T) {
		write(t, dir+"/later", "later\n")
		if out := in("cat /data/later"); out != "later" {
			t.Errorf("%q", out)
		}
	})
	t.Run("changed on the DPU later", func(t *testing.T) {
		write(t, dir+"/from-dpu", "changed and now longer than before\n")
		if out := in("cat /data/from-dpu"); out != "changed and now longer than before" {
			t.Errorf("%q", out)
		}
	})
	t.Run("removed on the DPU", func(t *testing.T) {
		write(t, dir+"/gone", "here\n")
		in("cat /data/gone")
		must(t, "rm", dir+"/gone")
		if out := in("test -e /data/gone; echo $?"); out != "1" {
			t.Errorf("it is still seen")
		}
	})
	t.Run("renamed, linked, listed", func(t *testing.T) {
		in("mkdir -p /data/sub && echo one > /data/sub/a && mv /data/sub/a /data/sub/b && ln -s b /data/sub/c && ln /data/sub/b /data/sub/d")
		if out := must(t, "ls", dir+"/sub"); out != "b\nc\nd" {
			t.Errorf("%q", out)
		}
		if out := must(t, "stat", "-c", "%h", dir+"/sub/b"); out != "2" {
			t.Errorf("%s links", out)
		}
	})
	t.Run("owner and mode", func(t *testing.T) {
		in("touch /data/owned && chown 1234:5678 /data/owned && chmod 640 /data/owned")
		if out := must(t, "stat", "-c", "%u %g %a", dir+"/owned"); out != "1234 5678 640" {
			t.Errorf("%q", out)
		}
	})
	t.Run("large file", func(t *testing.T) {
		in("dd if=/dev/urandom of=/data/large bs=1M count=32 2>/dev/null")
		if inside, outside := in("sha256sum < /data/large"), must(t, "sh", "-c", "sha256sum < "+dir+"/large"); inside != outside {
			t.Errorf("%s inside, %s outside", inside, outside)
		}
	})
}

// TestBindReadOnly holds that a container can't change what it was given to read.
func TestBindReadOnly(t *testing.T) {
	leavesNothing(t)
	dir := dpuDir(t)
	write(t, dir+"/file", "as it was\n")
	r := try(t, "docker", "run", "--rm", "-v", dir+":/data:ro", image("busybox"), "sh", "-c",
		"cat /data/file; echo x > /data/file; echo x > /data/new; rm -f /data/file; true")
	if r.code != 0 || r.stdout != "as it was\n" || strings.Count(r.stderr, "Read-only file system") < 2 {
		t.Errorf("exit status %d, output %q, errors %q", r.code, r.stdout, r.stderr)
	}
	if out := must(t, "ls", dir) + ": " + read(t, dir+"/file"); out != "file: as it was\n" {
		t.Errorf("on the DPU: %q", out)
	}
}

// TestBindFile holds that a single file can be given, and nothing beside it is.
func TestBindFile(t *testing.T) {
	leavesNothing(t)
	dir := dpuDir(t)
	write(t, dir+"/only", "one file\n")
	write(t, dir+"/other", "not given\n")
	script := "cat /etc/only; test -e /etc/other && echo other; echo more >> /etc/only || true"
	mount := "type=bind,src=" + dir + "/only,dst=/etc/only"
	if out := docker(t, "run", "--rm", "--mount", mount, image("busybox"), "sh", "-c", script); out != "one file" {
		t.Errorf("in the container: %q", out)
	}
	if text := read(t, dir+"/only"); text != "one file\nmore\n" {
		t.Errorf("on the DPU: %q", text)
	}
	r := try(t, "docker", "run", "--rm", "--mount", mount+",readonly", image("busybox"), "sh", "-c", script)
	if r.code != 0 || r.stdout != "one file\nmore\n" || !strings.Contains(r.stderr, "Read-only file system") {
		t.Errorf("read-only: exit status %d, output %q, errors %q", r.code, r.stdout, r.stderr)
	}
}

// TestCtrBind holds that a path in a specification is the DPU's, whoever wrote it.
func TestCtrBind(t *testing.T) {
	leavesNothing(t)
	dir := dpuDir(t)
	write(t, dir+"/file", "for ctr\n")
	out := must(t, ctrRun("--rm", "--mount", "type=bind,src="+dir+",dst=/data,options=rbind:rw", image("busybox"),
		"bind", "sh", "-c", "cat /data/file; echo back > /data/back")...)
	if out != "for ctr" || read(t, dir+"/back") != "back\n" {
		t.Errorf("%q", out)
	}
}

// TestVolume holds that a volume outlives its containers, and starts with what the image has there.
func TestVolume(t *testing.T) {
	pull(t, "layers")
	leavesNothing(t)
	volume := name(t)
	docker(t, "volume", "create", volume)
	t.Cleanup(func() { docker(t, "volume", "rm", volume) })
	docker(t, "run", "--rm", "-v", volume+":/data", image("busybox"), "sh", "-c", "echo kept > /data/file")
	if out := docker(t, "run", "--rm", "-v", volume+":/data", image("busybox"), "cat", "/data/file"); out != "kept" {
		t.Errorf("%q", out)
	}
	filled := volume + "-filled"
	docker(t, "volume", "create", filled)
	t.Cleanup(func() { docker(t, "volume", "rm", filled) })
	if out := docker(t, "run", "--rm", "-v", filled+":/odd", image("layers"), "cat", "/odd/owned", "/odd/opaque/shown"); out != "1234:5678\nshown" {
		t.Errorf("%q", out)
	}
}

// TestTmpfs holds memory file systems, their size and options.
func TestTmpfs(t *testing.T) {
	leavesNothing(t)
	out := docker(t, "run", "--rm", "--tmpfs", "/scratch:size=1m,mode=1770", "--shm-size", "3m", image("busybox"), "sh", "-c",
		"grep -E ' /scratch | /dev/shm ' /proc/mounts; stat -c %a /scratch; dd if=/dev/zero of=/scratch/x bs=1M count=2 2>&1 | grep -c 'No space'")
	for _, text := range []string{"/scratch tmpfs", "size=1024k", "/dev/shm tmpfs", "size=3072k", "\n1770\n", "\n1"} {
		if !strings.Contains(out, text) {
			t.Errorf("no %q in %q", text, out)
		}
	}
}

// TestIdentity holds the user, directory and variables that a container is started with.
func TestIdentity(t *testing.T) {
	leavesNothing(t)
	for _, c := range []struct {
		name string
		args []string
		out  string
	}{
		{"user by number", []string{"-u", "1234:5678", image("busybox"), "id"}, "uid=1234 gid=5678"},
		{"user by name", []string{"-u", "user", image("busybox"), "sh", "-c", "id -u; id -G"}, "1000\n1000 50"},
		{"group added", []string{"--group-add", "redis", image("busybox"), "id", "-G"}, "999"},
		{"directory", []string{"-w", "/made/here", image("busybox"), "pwd"}, "/made/here"},
		{"variable", []string{"-e", "WORD=said", image("busybox"), "sh", "-c", "echo $WORD"}, "said"},
		{"read-only root", []string{"--read-only", image("busybox"), "sh", "-c", "touch /x 2>&1 || true"}, "Read-only file system"},
		{"privileges", []string{"--cap-drop", "ALL", image("busybox"), "sh", "-c", "grep CapEff /proc/self/status"}, "0000000000000000"},
		{"set-user-ID", []string{"-u", "1000", image("layers"), "stat", "-c", "%a %U", "/odd/setuid"}, "4755 root"},
		{"init", []string{"--init", image("busybox"), "cat", "/proc/1/comm"}, "docker-init"},
		{"ulimit", []string{"--ulimit", "nofile=100:200", image("busybox"), "sh", "-c", "ulimit -n; ulimit -Hn"}, "100\n200"},
		{"sysctl", []string{"--sysctl", "net.ipv4.ip_unprivileged_port_start=7", image("busybox"), "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"}, "7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if out := docker(t, append([]string{"run", "--rm"}, c.args...)...); !strings.Contains(out, c.out) {
				t.Errorf("no %q in %q", c.out, out)
			}
		})
	}
}

// TestNetworkModes holds the two modes without a network of their own.
func TestNetworkModes(t *testing.T) {
	leavesNothing(t)
	t.Run("none", func(t *testing.T) {
		out := docker(t, "run", "--rm", "--network", "none", image("busybox"), "ip", "-o", "link")
		if strings.Count(out, "\n") != 0 || !strings.Contains(out, "lo:") {
			t.Errorf("more than loopback: %q", out)
		}
	})
	t.Run("host", func(t *testing.T) {
		docker(t, "run", "--rm", "--network", "host", image("busybox"), "true")
	})
	t.Run("default", func(t *testing.T) {
		out := docker(t, "run", "--rm", image("busybox"), "ip", "-o", "addr", "show", "dev", "eth0")
		if !strings.Contains(out, "172.17.0.") {
			t.Errorf("no address of the bridge: %q", out)
		}
	})
}

// TestCopy holds that docker cp reaches into a container, running or not, and out of it.
func TestCopy(t *testing.T) {
	leavesNothing(t)
	dir := dpuDir(t)
	write(t, dir+"/in/file", "copied in\n")
	for _, state := range []string{"running", "stopped"} {
		t.Run(state, func(t *testing.T) {
			id := start(t, image("busybox"), "sleep", "1000")
			if state == "stopped" {
				docker(t, "kill", id)
			}
			docker(t, "cp", dir+"/in", id+":/tmp/")
			docker(t, "cp", id+":/tmp/in/file", dir+"/back-"+state)
			if text := read(t, dir+"/back-"+state); text != "copied in\n" {
				t.Errorf("%q", text)
			}
			docker(t, "cp", id+":/etc", dir+"/etc-"+state)
			if text := read(t, dir+"/etc-"+state+"/passwd"); !strings.HasPrefix(text, "root:") {
				t.Errorf("%q", text)
			}
			if state == "running" {
				if out := docker(t, "exec", id, "cat", "/tmp/in/file"); out != "copied in" {
					t.Errorf("in the container: %q", out)
				}
			}
		})
	}
}

// TestDiffAndCommit holds that what a container changed can be listed, and kept as an image.
func TestDiffAndCommit(t *testing.T) {
	leavesNothing(t)
	id := name(t)
	docker(t, "run", "--name", id, image("busybox"), "sh", "-c", "echo new > /made && rm /etc/shadow && echo x >> /etc/group")
	t.Cleanup(func() { remove(t, id) })
	diff := docker(t, "diff", id)
	for _, line := range []string{"A /made", "D /etc/shadow", "C /etc/group"} {
		if !strings.Contains(diff, line) {
			t.Errorf("no %q in %q", line, diff)
		}
	}
	docker(t, "commit", id, "committed")
	t.Cleanup(func() { docker(t, "image", "rm", "-f", "committed") })
	out := docker(t, "run", "--rm", "committed", "sh", "-c", "cat /made; test -e /etc/shadow || echo removed; tail -n 1 /etc/group")
	if out != "new\nremoved\nx" {
		t.Errorf("%q", out)
	}
}

// TestExport holds that a container's whole tree can be read out.
func TestExport(t *testing.T) {
	leavesNothing(t)
	id := start(t, image("layers"), "sleep", "1000")
	out := must(t, "sh", "-c", "docker export "+id+" | tar -tv --numeric-owner")
	for _, text := range []string{"1234/5678", "odd/link", "odd/setuid", "bin/busybox"} {
		if !strings.Contains(out, text) {
			t.Errorf("no %q in the archive", text)
		}
	}
}
