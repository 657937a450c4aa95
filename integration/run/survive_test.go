// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/container-offload/offload/integration/lab"
)

// counter runs a container that counts, and returns a function that reads how far it is.
func counter(t *testing.T) (id string, at func() int) {
	t.Helper()
	id = start(t, image("busybox"), "sh", "-c", "i=0; trap 'exit 6' TERM; while :; do i=$((i+1)); echo $i; sleep 0.05; done")
	at = func() int {
		lines := strings.Fields(docker(t, "logs", "--tail", "1", id))
		if len(lines) == 0 {
			return 0
		}
		n, err := strconv.Atoi(lines[0])
		if err != nil {
			t.Fatalf("log line %q", lines[0])
		}
		return n
	}
	eventually(t, "it counts", func() error { return beyond(at, 3) })
	return id, at
}

// beyond fails as long as the count is not past the number.
func beyond(at func() int, number int) error {
	if n := at(); n <= number {
		return fmt.Errorf("still at %d", n)
	}
	return nil
}

// complete fails unless the container's log has each number once and in order.
func complete(t *testing.T, id string) {
	t.Helper()
	for i, line := range strings.Fields(docker(t, "logs", id)) {
		if line != strconv.Itoa(i+1) {
			t.Fatalf("line %d of the log is %q", i+1, line)
		}
	}
}

// stillOurs holds that everything one does with a running container works, ending with its end.
func stillOurs(t *testing.T, id string) {
	t.Helper()
	if out := docker(t, "exec", id, "echo", "reached"); out != "reached" {
		t.Errorf("exec: %q", out)
	}
	docker(t, "stop", id)
	if code := docker(t, "inspect", "-f", "{{.State.ExitCode}}", id); code != "6" {
		t.Errorf("exit status %s, not 6", code)
	}
	complete(t, id)
}

// TestDaemonsRestart holds that a container does not notice, and its user loses nothing, when a daemon on either side
// is stopped or killed and started again.
func TestDaemonsRestart(t *testing.T) {
	for _, c := range []struct {
		name  string
		stock bool
		which func() *lab.Process
		again func(context.Context) error
	}{
		{"agent", false, func() *lab.Process { return shared.Agent }, shared.StartAgent},
		{"daemon", false, func() *lab.Process { return shared.Daemon }, shared.StartDaemon},
		{"containerd", true, func() *lab.Process { return shared.Containerd }, shared.StartContainerd},
	} {
		for _, how := range []string{"stopped", "killed"} {
			t.Run(c.name+"/"+how, func(t *testing.T) {
				if !c.stock {
					offloadOnly(t)
				}
				leavesNothing(t)
				id, at := counter(t)
				if how == "killed" {
					c.which().Kill()
				} else if err := c.which().Stop(t.Context()); err != nil {
					t.Error(err)
				}
				if err := c.again(t.Context()); err != nil {
					t.Fatal(err)
				}
				was := at()
				eventually(t, "it counts on", func() error { return beyond(at, was) })
				eventually(t, "exec works again", printed(t, "reached", "docker", "exec", id, "echo", "reached"))
				stillOurs(t, id)
				if out := docker(t, "run", "--rm", image("busybox"), "echo", "a new one runs"); out != "a new one runs" {
					t.Errorf("%q", out)
				}
			})
		}
	}
}

// TestEndUnseen holds that a container which ends while a daemon is away is known to have ended when that is back.
func TestEndUnseen(t *testing.T) {
	offloadOnly(t)
	for _, c := range []struct {
		name  string
		which func() *lab.Process
		again func(context.Context) error
	}{
		{"agent", func() *lab.Process { return shared.Agent }, shared.StartAgent},
		{"daemon", func() *lab.Process { return shared.Daemon }, shared.StartDaemon},
	} {
		t.Run(c.name, func(t *testing.T) {
			leavesNothing(t)
			id := start(t, image("busybox"), "sh", "-c", "echo started; sleep 2; echo ended; exit 8")
			eventually(t, "started", printed(t, "started", "docker", "logs", id))
			c.which().Kill()
			time.Sleep(2500 * time.Millisecond) // Past the container's end, which nothing here could be asked about.
			if err := c.again(t.Context()); err != nil {
				t.Fatal(err)
			}
			if code := docker(t, "wait", id); code != "8" {
				t.Errorf("exit status %s, not 8", code)
			}
			if out := docker(t, "logs", id); out != "started\nended" {
				t.Errorf("log %q", out)
			}
		})
	}
}

// cut makes the link lose every packet, without a sign to either side, or works as before again.
func cut(t *testing.T, on bool) {
	t.Helper()
	script := "nft add table inet cut && " +
		"nft 'add chain inet cut in { type filter hook input priority 0; }' && nft add rule inet cut in iifname lab0 drop && " +
		"nft 'add chain inet cut out { type filter hook output priority 0; }' && nft add rule inet cut out oifname lab0 drop"
	if !on {
		script = "nft delete table inet cut"
	}
	if r := tryIn(t, shared.Host, "", "sh", "-c", script); r.code != 0 {
		t.Fatalf("cut the link: %s", r.all())
	}
}

// TestLinkCut holds that a link which is gone for some seconds costs time and nothing else.
func TestLinkCut(t *testing.T) {
	offloadOnly(t)
	const away = 3 * time.Second
	for _, c := range []struct {
		name       string
		down, back func(t *testing.T)
	}{
		{"packets lost", func(t *testing.T) { cut(t, true) }, func(t *testing.T) { cut(t, false) }},
		{"cable pulled", func(t *testing.T) { setLink(t, false) }, func(t *testing.T) { setLink(t, true) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			leavesNothing(t)
			t.Run("quiet container", func(t *testing.T) {
				id, at := counter(t)
				c.down(t)
				time.Sleep(away)
				c.back(t)
				was := at()
				eventually(t, "it counts on", func() error { return beyond(at, was) })
				stillOurs(t, id)
			})
			t.Run("container that streams", func(t *testing.T) {
				streams(t, func() {
					c.down(t)
					time.Sleep(away)
					c.back(t)
				})
			})
		})
	}
}

// TestLinkLostForGood holds that a container whose link does not come back in time is reported dead while the HOST is
// out of reach, that the HOST ends it too, and that it can be started again then.
func TestLinkLostForGood(t *testing.T) {
	l := own(t, lab.Options{Link: "resume_timeout = \"3s\"\n"})
	leavesNothingIn(t, l)
	in := func(argv ...string) string {
		t.Helper()
		r := tryIn(t, l.DPU, "", argv...)
		if r.code != 0 {
			t.Fatalf("%v: %s", argv, r.all())
		}
		return strings.TrimSpace(r.stdout)
	}
	in("docker", "run", "-d", "--name", "lost", image("busybox"), "sleep", "1000")
	t.Cleanup(func() { in("docker", "rm", "-f", "lost") })
	if err := l.DPU.SetLink(false); err != nil {
		t.Fatal(err)
	}
	eventuallyWithin(t, patience, "it is reported dead", func() error {
		if state := in("docker", "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "lost"); state != "exited 137" {
			return fmt.Errorf("it is %q", state)
		}
		return nil
	})
	eventuallyWithin(t, patience, "the HOST ends it", func() error {
		if r := tryIn(t, l.Host, "", "sh", "-c", "ls -d /run/offload/shims/moby/*"); r.code == 0 {
			return fmt.Errorf("there is %q", r.stdout)
		}
		return nil
	})
	if err := l.DPU.SetLink(true); err != nil {
		t.Fatal(err)
	}
	eventuallyWithin(t, patience, "it is started again", func() error {
		if r := tryIn(t, l.DPU, "", "docker", "start", "lost"); r.code != 0 {
			return fmt.Errorf("exit status %d: %s", r.code, r.all())
		}
		return nil
	})
	if out := in("docker", "exec", "lost", "echo", "reached"); out != "reached" {
		t.Errorf("exec: %q", out)
	}
}

// TestLeftByDeadShim holds that what a HOST half that died has left is not in the way of a new one of its name.
func TestLeftByDeadShim(t *testing.T) {
	offloadOnly(t)
	leavesNothing(t)
	// A pid that no process can have.
	const left = "d=/run/offload/shims/default/left && mkdir -p $d/tasks/left && printf 4194304 >$d/half.pid"
	if r := tryIn(t, shared.Host, "", "sh", "-c", left); r.code != 0 {
		t.Fatal(r.all())
	}
	if out := must(t, ctrRun("--rm", image("busybox"), "left", "echo", "ran")...); out != "ran" {
		t.Errorf("%q", out)
	}
}

func setLink(t *testing.T, up bool) {
	t.Helper()
	if err := shared.DPU.SetLink(up); err != nil {
		t.Fatal(err)
	}
}

// streams sends data through a container and back, lets disturb act in the middle, and holds that all arrives.
func streams(t *testing.T, disturb func()) {
	t.Helper()
	const size = 96 << 20
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var errs bytes.Buffer
	got := &noticed{counted: counted{Hash: sha256.New()}, at: size / 3, reached: make(chan struct{})}
	command := shared.DPU.Command(ctx, "docker", "run", "--rm", "-i", "--log-driver", "none", image("busybox"), "cat")
	command.Stdin, command.Stdout, command.Stderr = io.LimitReader(&pattern{}, size), got, &errs
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	select {
	case <-got.reached:
		disturb()
	case <-ctx.Done():
	}
	err := <-ended
	if sum := hex.EncodeToString(got.Sum(nil)); err != nil || got.size != size || sum != patternSum(t, size) {
		t.Errorf("%d of %d bytes, or wrong ones: %v: %s", got.size, int64(size), err, errs.String())
	}
}

// noticed tells when it has been given so many bytes.
type noticed struct {
	counted
	at      int64
	reached chan struct{}
	told    bool
}

func (n *noticed) Write(data []byte) (int, error) {
	written, err := n.counted.Write(data)
	if !n.told && n.size >= n.at {
		n.told = true
		close(n.reached)
	}
	return written, err
}
