// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-offload/offload/integration/lab"
)

// soon is how long an error may take that could be told at once, on a busy machine.
const soon = 15 * time.Second

// own opens a lab for one test, for what would do harm to the others, and prepares it with an image.
func own(t *testing.T, options lab.Options) *lab.Lab {
	t.Helper()
	offloadOnly(t)
	options.LogDir = filepath.Join(t.ArtifactDir(), "log") // kept with go test -artifacts
	l, err := lab.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	if !options.Bare {
		warm(t, l)
	}
	return l
}

// warm brings the image that most tests use, with docker and ctr, and makes what is made with the first container and
// stays, where containers can run.
func warm(t *testing.T, l *lab.Lab) {
	t.Helper()
	commands := [][]string{
		{"docker", "pull", "-q", image("busybox")}, {"ctr", "image", "pull", "--plain-http", image("busybox")},
	}
	if r := tryIn(t, l.Host, "", "sh", "-c", "command -v runc"); r.code == 0 {
		commands = append(commands, []string{"docker", "run", "--rm", image("busybox"), "true"},
			ctrRun("--rm", image("busybox"), "warm", "true"))
	}
	for _, argv := range commands {
		if r := tryIn(t, l.DPU, "", argv...); r.code != 0 {
			t.Fatalf("%v: %s", argv, r.all())
		}
	}
}

// refused holds that neither docker nor ctr can run a container, that both say so soon, and in which words.
func refused(t *testing.T, l *lab.Lab, says ...string) {
	t.Helper()
	for client, argv := range map[string][]string{
		"docker run": {"docker", "run", "--rm", image("busybox"), "true"},
		"ctr run":    ctrRun("--rm", image("busybox"), "refused", "true"),
	} {
		t.Run(client, func(t *testing.T) {
			// dockerd keeps the lease of a container whose snapshot it could not make, stock as it is here.
			leavesNothingIn(t, l, "leases: ")
			r := tryIn(t, l.DPU, "", argv...)
			if r.code == 0 {
				t.Fatal("it ran")
			}
			if r.took > soon {
				t.Errorf("it took %v to fail", r.took)
			}
			for _, words := range says {
				if !strings.Contains(r.all(), words) {
					t.Errorf("no %q in %q", words, r.all())
				}
			}
			t.Logf("after %v: %s", r.took.Round(time.Millisecond), strings.TrimSpace(r.stderr))
		})
	}
}

// works holds that what had been refused is possible again.
func works(t *testing.T, l *lab.Lab) {
	t.Helper()
	eventually(t, "it works again", func() error {
		_, err := l.DPU.Command(t.Context(), "docker", "run", "--rm", image("busybox"), "true").Output()
		return err
	})
}

// TestPeerDown holds what happens where the HOST's agent does not run.
func TestPeerDown(t *testing.T) {
	l := own(t, lab.Options{})
	if err := l.Agent.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused(t, l, lab.LinkAddress)
	if err := l.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	works(t, l)
}

// TestWrongCertificate holds that a HOST is not reached with another authority's certificates.
func TestWrongCertificate(t *testing.T) {
	l := own(t, lab.Options{})
	const swap = `offloadctl pki init --dir /root/other >/dev/null && cp -r /etc/offload/certs /root/right &&
		cp /root/other/ca.crt /root/other/dpu.crt /root/other/dpu.key /etc/offload/certs/`
	restart := func(script string) {
		if r := tryIn(t, l.DPU, "", "sh", "-c", script); r.code != 0 {
			t.Fatal(r.all())
		}
		if err := l.Daemon.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.StartDaemon(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	restart(swap)
	refused(t, l, "certificate", lab.LinkAddress)
	restart("cp /root/right/* /etc/offload/certs/")
	works(t, l)
}

// TestMissingCertificate holds that a file which is not there is named.
func TestMissingCertificate(t *testing.T) {
	l := own(t, lab.Options{})
	if r := tryIn(t, l.DPU, "", "mv", "/etc/offload/certs/dpu.key", "/root/dpu.key"); r.code != 0 {
		t.Fatal(r.all())
	}
	refused(t, l, "/etc/offload/certs/dpu.key does not exist")
	if r := tryIn(t, l.DPU, "", "mv", "/root/dpu.key", "/etc/offload/certs/dpu.key"); r.code != 0 {
		t.Fatal(r.all())
	}
	works(t, l)
}

// TestMissingRunc holds that a HOST which can't run containers says why.
func TestMissingRunc(t *testing.T) {
	l := own(t, lab.Options{Omit: map[string][]string{"host": {"runc"}}})
	refused(t, l, "runc")
}

// TestUnknownKey holds that a misspelt key of the configuration is told, with its file, to whoever runs into it.
func TestUnknownKey(t *testing.T) {
	l := own(t, lab.Options{})
	const file = "/etc/offload/dpu.toml"
	text, err := l.DPU.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	set := func(more string) {
		if err := l.DPU.WriteFile(file, append(text, more...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("\n[shadow]\nnoise = 1\n")
	refused(t, l, file, "shadow")
	t.Run("offload-dpu", func(t *testing.T) {
		r := tryIn(t, l.DPU, "", "offload-dpu")
		if r.code == 0 || !strings.Contains(r.all(), file) || !strings.Contains(r.all(), "shadow") {
			t.Errorf("exit status %d: %q", r.code, r.all())
		}
	})
	set("")
	works(t, l)
	t.Run("offload-host", func(t *testing.T) {
		if err := l.Host.WriteFile("/tmp/host.toml", []byte("version = 1\n[link]\nlisten = \"tcp://0.0.0.0:1\"\nlissen = 1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := tryIn(t, l.Host, "", "offload-host", "--config", "/tmp/host.toml")
		if r.code == 0 || !strings.Contains(r.all(), "/tmp/host.toml") || !strings.Contains(r.all(), "lissen") {
			t.Errorf("exit status %d: %q", r.code, r.all())
		}
	})
}

// TestDiskFull holds that a HOST whose store has no room says so, that nothing half-made stays, and that it goes on
// when there is room again.
func TestDiskFull(t *testing.T) {
	l := own(t, lab.Options{Bare: true})
	if r := tryIn(t, l.Host, "", "mount", "-t", "tmpfs", "-o", "size=12m,nr_inodes=3000,mode=711", "store", "/var/lib/offload"); r.code != 0 {
		t.Fatal(r.all())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Start(ctx); err != nil {
		t.Fatal(err)
	}
	warm(t, l)
	const full = "no space left on device"
	t.Run("pull", func(t *testing.T) {
		leavesNothingIn(t, l)
		r := tryIn(t, l.DPU, "", "docker", "pull", "-q", image("layers"))
		if r.code == 0 || !strings.Contains(r.all(), full) || r.took > soon {
			t.Errorf("exit status %d after %v: %q", r.code, r.took, r.all())
		}
	})
	t.Run("write in a container", func(t *testing.T) {
		leavesNothingIn(t, l)
		r := tryIn(t, l.DPU, "", "docker", "run", "--rm", image("busybox"), "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=64")
		if r.code != 1 || !strings.Contains(strings.ToLower(r.all()), full) {
			t.Errorf("exit status %d after %v: %q", r.code, r.took, r.all())
		}
	})
	t.Run("copy into a container", func(t *testing.T) {
		leavesNothingIn(t, l)
		const copying = `docker create --name copied "$1" true && dd if=/dev/zero of=/tmp/big bs=1M count=64 && docker cp /tmp/big copied:/big`
		r := tryIn(t, l.DPU, "", "sh", "-c", copying, "sh", image("busybox"))
		if r.code != 1 || !strings.Contains(strings.ToLower(r.all()), full) {
			t.Errorf("exit status %d after %v: %q", r.code, r.took, r.all())
		}
		if r := tryIn(t, l.DPU, "", "sh", "-c", "docker rm copied; rm /tmp/big"); r.code != 0 {
			t.Error(r.all())
		}
	})
	t.Run("no room for a container", func(t *testing.T) {
		// A new snapshot takes no block of this file system, only inodes.
		fill := "mkdir /var/lib/offload/fill && cd /var/lib/offload/fill && i=0 && while : > $i; do i=$((i+1)); done"
		if r := tryIn(t, l.Host, "", "sh", "-c", fill); !strings.Contains(strings.ToLower(r.all()), full) {
			t.Fatal(r.all())
		}
		refused(t, l, full)
		if r := tryIn(t, l.Host, "", "rm", "-r", "/var/lib/offload/fill"); r.code != 0 {
			t.Fatal(r.all())
		}
	})
	works(t, l)
}
