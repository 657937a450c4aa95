// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-offload/offload/integration/lab"
)

// patience is how long any one command may take that has no reason to take long. Nothing may ever hang.
const patience = 60 * time.Second

// result is what a finished command left.
type result struct {
	stdout, stderr string
	code           int
	took           time.Duration
}

func (r result) all() string { return r.stdout + r.stderr }

// try runs a command on the DPU and returns whatever comes of it, except that it must end.
func try(t *testing.T, argv ...string) result {
	t.Helper()
	return tryIn(t, shared.DPU, "", argv...)
}

func tryIn(t *testing.T, env *lab.Env, stdin string, argv ...string) result {
	t.Helper()
	// Not the test's own context, which has ended when it cleans up.
	r, err := attempt(context.Background(), env, stdin, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// attempt is try for goroutines, which can't end a test.
func attempt(ctx context.Context, env *lab.Env, stdin string, argv ...string) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out, errs bytes.Buffer
	command := env.Command(ctx, argv...)
	command.Stdout, command.Stderr = &out, &errs
	if stdin != "" {
		command.Stdin = strings.NewReader(stdin)
	}
	// A child that outlives the command would keep its output open.
	command.WaitDelay = time.Second
	start := time.Now()
	err := command.Run()
	r := result{stdout: out.String(), stderr: errs.String(), code: lab.ExitCode(err), took: time.Since(start)}
	if ctx.Err() != nil {
		return r, fmt.Errorf("%s: %w after %v: %s", strings.Join(argv, " "), ctx.Err(), r.took, r.all())
	}
	if r.code < 0 {
		return r, fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, r.all())
	}
	return r, nil
}

// must runs a command on the DPU that has to succeed, and returns its standard output without the end of line.
func must(t *testing.T, argv ...string) string {
	t.Helper()
	r := try(t, argv...)
	if r.code != 0 {
		t.Fatalf("%s: exit status %d\n%s", strings.Join(argv, " "), r.code, r.all())
	}
	return strings.TrimSuffix(r.stdout, "\n")
}

// ctrRun is the command line of ctr run.
func ctrRun(args ...string) []string { return shared.CtrRun(args...) }

// docker runs a docker command that has to succeed.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	return must(t, append([]string{"docker"}, args...)...)
}

// name is a container's name that says whose it is.
func name(t *testing.T) string {
	return strings.Trim(regexp.MustCompile(`[^a-zA-Z0-9]+`).ReplaceAllString(t.Name(), "-"), "-")
}

// start runs a container in the background, which is removed when the test ends.
func start(t *testing.T, args ...string) string {
	t.Helper()
	id := name(t)
	docker(t, append([]string{"run", "-d", "--name", id}, args...)...)
	t.Cleanup(func() { remove(t, id) })
	return id
}

// remove removes a container and its volumes, whatever state it is in.
func remove(t *testing.T, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if out, err := shared.DPU.Command(ctx, "docker", "rm", "-f", "-v", id).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// removeCtr removes a container of ctr that a failed test may have left, whatever state it is in.
func removeCtr(t *testing.T, id string) {
	t.Helper()
	try(t, "ctr", "tasks", "rm", "-f", id)
	try(t, "ctr", "containers", "rm", id)
}

// eventually waits for what the system does by itself a moment later.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	eventuallyWithin(t, 20*time.Second, what, check)
}

func eventuallyWithin(t *testing.T, limit time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// printed is a check for eventually: a command's output has the text.
func printed(t *testing.T, text string, argv ...string) func() error {
	return func() error {
		t.Helper()
		if r := try(t, argv...); !strings.Contains(r.all(), text) {
			return fmt.Errorf("%s: no %q in %q", strings.Join(argv, " "), text, r.all())
		}
		return nil
	}
}

// leavesNothing makes the test fail if, on either side, more is there after it than before: a mount, a process, a
// network namespace, a cgroup, a bundle, a snapshot, a container.
func leavesNothing(t *testing.T) {
	t.Helper()
	leavesNothingIn(t, shared)
}

// leavesNothingIn looks at another lab. Lines that begin with one of the exceptions may be left.
func leavesNothingIn(t *testing.T, l *lab.Lab, exceptions ...string) {
	t.Helper()
	before := everything(t, l)
	t.Cleanup(func() {
		var left []string
		deadline := time.Now().Add(10 * time.Second)
		for {
			left = slices.DeleteFunc(everything(t, l).Since(before), func(line string) bool {
				return slices.ContainsFunc(exceptions, func(start string) bool { return strings.HasPrefix(line, start) })
			})
			if len(left) == 0 {
				return
			}
			if time.Now().After(deadline) {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Errorf("left behind:\n  %s", strings.Join(left, "\n  "))
	})
}

// everything observes both sides, and what the daemons on the DPU keep.
func everything(t *testing.T, l *lab.Lab) lab.Observation {
	t.Helper()
	all := lab.Observation{}
	for _, env := range []*lab.Env{l.Host, l.DPU} {
		o, err := env.Observe()
		if err != nil {
			t.Fatal(err)
		}
		for line := range o {
			all[env.Name()+": "+line] = true
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for what, script := range map[string]string{
		"containers": "docker ps -aq; for n in default moby; do ctr -n $n containers ls -q; ctr -n $n tasks ls -q; done",
		"volumes":    "docker volume ls -q",
		"networks":   "docker network ls -q",
		// Those of new layers end by themselves, some time later.
		"leases":    "for n in default moby; do ctr -n $n leases ls -q | grep -v ^offload-diff-; done; true",
		"snapshots": "for n in default moby; do ctr -n $n snapshots --snapshotter " + snapshotter() + " ls | tail -n +2; done",
	} {
		out, err := l.DPU.Shell(ctx, script).Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			all[what+": "+strings.Join(strings.Fields(line), " ")] = true
		}
	}
	return all
}

func snapshotter() string {
	if lab.AskedKind() == lab.Stock {
		return "overlayfs"
	}
	return "offload"
}

// offloadOnly skips what has no meaning where nothing is moved.
func offloadOnly(t *testing.T) {
	t.Helper()
	if lab.AskedKind() != lab.Offload {
		t.Skip("nothing is moved in a stock lab")
	}
}
