// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/integration/lab"
)

// patience is how long any one command may take. Nothing may ever hang.
const patience = 90 * time.Second

// What the DPU keeps from the HOST, and what it lets the HOST have.
const (
	vault  = "/root/vault"
	canary = "canary"
	secret = "the DPU's own"
	ofHost = "the HOST's"
	shared = "/srv/data"
)

// bed is the lab of all tests, with the liar in it.
var bed struct {
	lab  *lab.Lab
	liar *Liar
}

func TestMain(m *testing.M) { lab.Main(m, openBed) }

func openBed(ctx context.Context) ([]*lab.Lab, error) {
	between := func(l *lab.Lab) (_ string, err error) {
		bed.liar, err = newLiar(l)
		return liarAddress, err
	}
	l, err := lab.Open(ctx, lab.Options{
		Bare: true, Between: between,
		HostConfig: "\n[[export]]\nname = 'data'\npath = '" + shared + "'\n",
		DPUConfig:  "\n[[mount]]\npath = '" + shared + "'\nmountpoint = '" + shared + "'\n",
	})
	if err != nil {
		return nil, err
	}
	bed.lab = l
	for _, step := range []func() error{
		func() error { return l.Host.WriteFile(shared+"/volume/file", []byte(ofHost), 0o644) },
		func() error { return l.DPU.WriteFile(vault+"/"+canary, []byte(secret), 0o600) },
		func() error { return l.Start(ctx) },
		func() error {
			return l.Warm(ctx,
				[]string{"docker", "pull", "-q", l.Image("busybox")},
				[]string{"ctr", "image", "pull", "--plain-http", l.Image("busybox")},
				[]string{"docker", "run", "--rm", l.Image("busybox"), "true"},
			)
		},
	} {
		if err := step(); err != nil {
			return []*lab.Lab{l}, err
		}
	}
	return []*lab.Lab{l}, nil
}

// attempt runs a shell's script on the DPU, which must end.
func attempt(t *testing.T, script string) (out string, code int) {
	t.Helper()
	out, code, err := run(script)
	if err != nil {
		t.Fatal(err)
	}
	return out, code
}

// run is attempt for goroutines, which can't end a test.
func run(script string) (out string, code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var b bytes.Buffer
	command := bed.lab.DPU.Command(ctx, "sh", "-c", script)
	command.Stdout, command.Stderr = &b, &b
	command.WaitDelay = time.Second
	err = command.Run()
	code = lab.ExitCode(err)
	if ctx.Err() != nil || code < 0 {
		return b.String(), code, fmt.Errorf("%s: %w: %s", script, errors.Join(ctx.Err(), err), b.String())
	}
	return b.String(), code, nil
}

// must runs a script that has to succeed.
func must(t *testing.T, script string) string {
	t.Helper()
	out, code := attempt(t, script)
	if code != 0 {
		t.Fatalf("%s: exit status %d\n%s", script, code, out)
	}
	return out
}

// refused runs a script that has to fail, and say why.
func refused(t *testing.T, script, why string) {
	t.Helper()
	out, code := attempt(t, script)
	if code == 0 || !strings.Contains(out, why) {
		t.Errorf("%s: exit status %d, and does not say %q:\n%s", script, code, why, out)
	}
	if strings.Contains(out, secret) {
		t.Errorf("%s: has what is the DPU's: %s", script, out)
	}
}

// image is what containers are made of.
func image() string { return bed.lab.Image("busybox") }

// tell has the liar lie until the test ends, and then holds that the DPU is whole.
func tell(t *testing.T, lie *Lie) {
	t.Helper()
	before := daemons(t)
	bed.liar.Tell(lie)
	t.Cleanup(func() {
		bed.liar.Tell(nil)
		whole(t, before)
	})
}

// daemons are the DPU's, by name and pid.
func daemons(t *testing.T) string {
	t.Helper()
	return must(t, "for d in containerd dockerd offload-dpu; do pgrep -x $d; done")
}

// whole holds that the DPU's daemons are those of before, that nothing of a
// container is left, and that another one can be run.
func whole(t *testing.T, before string) {
	t.Helper()
	if now := daemons(t); now != before {
		t.Errorf("daemons died: of\n%s are left\n%s", before, now)
	}
	if out := must(t, "docker ps -aq | xargs -r docker rm -f -v; docker run --rm "+image()+" echo works"); !strings.Contains(out, "works") {
		t.Errorf("no container runs afterwards: %s", out)
	}
	if out := must(t, "cat "+vault+"/"+canary+"; ls "+vault); out != secret+canary+"\n" {
		t.Errorf("the DPU's files are now: %s", out)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		out := must(t, "pgrep -f '[c]ontainerd-shim-offload-v1 .*-id'; true")
		if out == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("shims are left: %s", out)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestTheTruth(t *testing.T) {
	tell(t, nil)
	out := must(t, "docker run --rm -v "+vault+":/mine "+image()+" cat /mine/"+canary)
	require.Equal(t, secret, out)
}
