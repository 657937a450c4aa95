// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/container-offload/offload/integration/lab"
)

// bridgedDocker is where the DPU's docker socket is led to. The client is on the DPU too: the HOST has no docker.
const bridgedDocker = "/run/bridged/docker.sock"

// bridge runs a udsbridge on the DPU until the test ends.
func bridge(t *testing.T, args ...string) {
	t.Helper()
	p, err := shared.DPU.Start(t.Context(), lab.Daemon{Name: "udsbridge", Argv: append([]string{"udsbridge"}, args...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := p.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
}

// TestDockerOverBridge holds that docker's client works on a docker.sock that is led over a link: connections that become
// streams, their half-close, terminals.
func TestDockerOverBridge(t *testing.T) {
	offloadOnly(t)
	leavesNothing(t)
	bridge(t, "tcp://127.0.0.1:7650", "-", "--insecure", "--serve", "/run/docker.sock", "--runtime", "/run/bridge-serve")
	bridge(t, "-", "tcp://127.0.0.1:7650", "--insecure", "--allow", bridgedDocker+"=/run/docker.sock", "--runtime", "/run/bridge-allow")
	docker := func(args ...string) []string {
		return append([]string{"docker", "-H", "unix://" + bridgedDocker}, args...)
	}
	eventually(t, "the bridged socket", func() error {
		if r := try(t, docker("version")...); r.code != 0 {
			return fmt.Errorf("%s", r.all())
		}
		return nil
	})

	t.Run("streams", func(t *testing.T) {
		r := tryIn(t, shared.DPU, "typed here", docker("run", "--rm", "-i", image("busybox"), "sh", "-c", "cat; echo; echo error >&2; exit 3")...)
		// The container ends only when it has seen the end of its input, which is half a close.
		if r.code != 3 || r.stdout != "typed here\n" || r.stderr != "error\n" {
			t.Errorf("status %d, output %q, error %q", r.code, r.stdout, r.stderr)
		}
	})
	t.Run("much", func(t *testing.T) {
		const size = 32 << 20
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		command := shared.DPU.Command(ctx, docker("run", "--rm", "-i", "--log-driver", "none", image("busybox"), "cat")...)
		out := &counted{Hash: sha256.New()}
		command.Stdin, command.Stdout, command.WaitDelay = io.LimitReader(&pattern{}, size), out, time.Second
		if err := command.Run(); err != nil {
			t.Fatal(err)
		}
		if sum := hex.EncodeToString(out.Sum(nil)); out.size != size || sum != patternSum(t, size) {
			t.Errorf("%d of %d bytes came back, with sum %s", out.size, size, sum)
		}
	})
	t.Run("terminal", func(t *testing.T) {
		term := onTerminal(t, docker("run", "--rm", "-it", image("busybox"), "sh")...)
		term.resize(33, 77)
		eventually(t, "prompt", term.shows("# "))
		eventually(t, "size", func() error {
			term.types(t, "stty size\n")
			return term.shows("33 77")()
		})
		term.interruptsAndEnds(t)
	})
	t.Run("copy", func(t *testing.T) {
		id := name(t)
		t.Cleanup(func() { remove(t, id) })
		must(t, docker("create", "--name", id, image("busybox"), "true")...)
		if out := must(t, docker("cp", id+":/bin/busybox", "-")...); len(out) < 100<<10 {
			t.Errorf("docker cp gave %d bytes", len(out))
		}
	})
}
