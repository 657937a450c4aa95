// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	starved      = "it ends, as any program does that gets nothing, and is started again; " + unnoticed
	starvedShort = "docker says so as it does anywhere; the others go on; nothing is left"
)

// limitFaults are memory and processes of which there are no more.
func limitFaults() []*fault {
	const group = "No room"
	var all []*fault
	for _, t := range []target{containerd, dockerd, offloadDPU, offloadHost, dpuHalf, hostHalf} {
		for _, l := range []limit{memoryLimit, taskLimit} {
			f := &fault{
				group: group, name: "no " + l.name + " for " + t.name, expect: starved,
				inject: func(ctx context.Context, s *scene) error {
					return s.unnoticed(ctx, t.name == dockerd.name, starve(t, l))
				},
			}
			if t.fatal {
				f.expect = "nobody hangs; if it ends, " + deadAlone
				f.inject = func(ctx context.Context, s *scene) error { return s.starveHalf(ctx, t, l) }
			}
			all = append(all, f)
		}
	}
	return append(all,
		&fault{
			group: group, name: "a container uses more than its -m", expect: "137, OOMKilled, and an oom event; " + starvedShort,
			steady: true, inject: func(ctx context.Context, s *scene) error { return s.ownMemory(ctx) },
		},
		&fault{
			group: group, name: "a container forks more than its --pids-limit", expect: "fork fails in it; it and the others go on; nothing is left",
			steady: true, inject: func(ctx context.Context, s *scene) error { return s.ownTasks(ctx) },
		},
	)
}

// limit is a controller of cgroups, version 1, and how little it lets a process have.
type limit struct {
	name, controller, file string
	least                  func(pid int) int
}

var (
	// What a process has is not counted when it is moved: it gets as much anew.
	memoryLimit = limit{"memory", "memory", "memory.limit_in_bytes", func(int) int { return 2 << 20 }}
	taskLimit   = limit{"processes", "pids", "pids.max", func(pid int) int {
		threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		return len(threads)
	}}
)

// enter puts a process, and what it starts, into a cgroup with the limit. The returned function takes everything out.
func (l limit) enter(pid int) (leave func() error, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, fmt.Errorf("limit %s: %w", l.name, err)
	}
	_, rest, ok := strings.Cut(string(text), ":"+l.controller+":")
	if !ok {
		return nil, fmt.Errorf("limit %s: there is no hierarchy of version 1 for %s", l.name, l.controller)
	}
	path, _, _ := strings.Cut(rest, "\n")
	parent := filepath.Join("/sys/fs/cgroup", l.controller, path)
	dir := filepath.Join(parent, "faults")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("limit %s: %w", l.name, err)
	}
	leave = func() error { return leaveCgroup(dir, parent) }
	for _, w := range [][2]string{{l.file, strconv.Itoa(l.least(pid))}, {"cgroup.procs", strconv.Itoa(pid)}} {
		if err := os.WriteFile(filepath.Join(dir, w[0]), []byte(w[1]), 0); err != nil {
			return nil, errors.Join(fmt.Errorf("limit %s: %w", l.name, err), leave())
		}
	}
	return leave, nil
}

// leaveCgroup moves all processes from dir to parent and removes dir.
func leaveCgroup(dir, parent string) error {
	for range 100 {
		pids, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			return fmt.Errorf("end a limit: %w", err)
		}
		for _, pid := range strings.Fields(string(pids)) {
			err := os.WriteFile(filepath.Join(parent, "cgroup.procs"), []byte(pid), 0)
			if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.EINVAL) { // it has ended
				return fmt.Errorf("end a limit: %w", err)
			}
		}
		if err := os.Remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		time.Sleep(50 * time.Millisecond) // a process that ends is in it for a moment more
	}
	return fmt.Errorf("end a limit: %s is still in use", dir)
}

// starve lets a daemon have no more of something and asks for things until it has ended, or has been asked often enough.
// One that ends is started again, without the limit, as its unit does.
func starve(t target, l limit) disturbance {
	return func(ctx context.Context, s *scene, victim *witness) error {
		leases, err := s.leases(ctx)
		if err != nil {
			return err
		}
		leave, err := l.enter(t.daemon(s).Pid())
		if err != nil {
			return err
		}
		name, after := s.name("refused"), s.draw("start "+t.name+" again after", 0, 2*time.Second)
		ended, asked, over := t.daemon(s).Done(), make(chan struct{}), make(chan error, 1)
		go func() {
			select {
			case <-ended:
				over <- errors.Join(leave(), pause(ctx, after), t.again(ctx, s))
			case <-asked:
				over <- leave()
			}
		}()
		gone := func() bool {
			select {
			case <-ended:
				return true
			default:
				return false
			}
		}
		err = s.askUntil(ctx, victim, name, gone)
		close(asked)
		if err := errors.Join(err, <-over); err != nil {
			return err
		}
		if gone() {
			s.note("it ended")
		} else {
			s.note("it went on")
		}
		err = s.eventually(ctx, "what was refused is removed", func(ctx context.Context) error {
			_, err := s.on(ctx, s.DPU, "docker rm -f "+name+"; test -z \"$(docker ps -aq --filter name="+name+")\"")
			return err
		})
		if err != nil {
			return err
		}
		return s.dropLeases(ctx, leases)
	}
}

// asks is how often things are asked for at most.
const asks = 8

// askUntil asks for what a daemon has to do with until enough. Each has to work or fail with a reason, and not to hang.
func (s *scene) askUntil(ctx context.Context, victim *witness, name string, enough func() bool) error {
	for range asks {
		for _, argv := range [][]string{
			{"docker", "exec", victim.name, "true"},
			{"docker", "run", "--rm", "--name", name, s.Image("busybox"), "true"},
		} {
			if enough() {
				return nil
			}
			_, err := s.dpu(ctx, argv...)
			var f *failure
			if err != nil && (!errors.As(err, &f) || strings.TrimSpace(f.text) == "") {
				return fmt.Errorf("it fails without a reason: %w", err)
			}
			if f != nil {
				s.tell("  %s: %s", strings.Join(argv[:2], " "), cell(f.text))
			}
		}
	}
	return nil
}

// starveHalf lets one half of a shim have no more of something, and enters its container until it ends.
func (s *scene) starveHalf(ctx context.Context, t target, l limit) error {
	victim, err := s.dockerWitness(ctx, "--restart", "always")
	if err != nil {
		return err
	}
	other, err := s.dockerWitness(ctx)
	if err != nil {
		return errors.Join(err, victim.remove(ctx))
	}
	pids, err := t.find(ctx, s, victim)
	if err != nil {
		return err
	}
	leave, err := l.enter(pids[0])
	if err != nil {
		return err
	}
	gone := func() bool { return errors.Is(unix.Kill(pids[0], 0), unix.ESRCH) }
	askErr := s.askUntil(ctx, victim, s.name("other"), gone)
	ended := gone()
	if ended {
		s.note("it ended")
	} else {
		s.note("it went on")
	}
	if err := errors.Join(askErr, leave()); err != nil {
		return err
	}
	s.over()
	if ended {
		if err := s.eventually(ctx, "it is started again", victim.identityChanged); err != nil {
			return err
		}
		if victim.born, err = victim.identity(ctx); err != nil {
			return err
		}
	}
	for _, w := range []*witness{victim, other} {
		if err := w.goesOn(ctx); err != nil {
			return err
		}
	}
	if err := s.allWorks(ctx); err != nil {
		return err
	}
	return errors.Join(victim.remove(ctx), other.ends(ctx, false))
}

// ownMemory has a container use more memory than it may.
func (s *scene) ownMemory(ctx context.Context) error {
	other, err := s.dockerWitness(ctx)
	if err != nil {
		return err
	}
	name := s.name("greedy")
	var f *failure
	_, err = s.dpu(ctx, "docker", "run", "--name", name, "-m", "16m", "--memory-swap", "16m", s.Image("busybox"),
		"dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1")
	if !errors.As(err, &f) || f.code != 137 {
		return fmt.Errorf("a container that uses more than its -m did not end with 137: %w", err)
	}
	if state, err := s.dpu(ctx, "docker", "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}", name); err != nil || state != "exited 137 true" {
		return errors.Join(fmt.Errorf("%s is %q", name, state), err)
	}
	err = s.eventually(ctx, "dockerd tells of it", func(ctx context.Context) error {
		out, err := s.dpu(ctx, "docker", "events", "--since", "10m", "--until", "0s", "--filter", "container="+name, "--format", "{{.Action}}")
		if err == nil && !slices.Contains(strings.Fields(out), "oom") {
			err = fmt.Errorf("events of %s: %q", name, out)
		}
		return err
	})
	if err != nil {
		return err
	}
	s.over()
	if _, err := s.dpu(ctx, "docker", "rm", name); err != nil {
		return err
	}
	return errors.Join(other.goesOn(ctx), s.allWorks(ctx), other.ends(ctx, false))
}

// ownTasks has a container make more processes than it may.
func (s *scene) ownTasks(ctx context.Context) error {
	w, err := s.dockerWitness(ctx, "--pids-limit", "8")
	if err != nil {
		return err
	}
	said, err := s.on(ctx, s.DPU, "docker exec "+w.name+" sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do sleep 2 & done; wait' 2>&1; true")
	if err != nil || !strings.Contains(said, "fork") {
		return errors.Join(fmt.Errorf("ten processes of eight: %q", said), err)
	}
	s.over()
	// It may itself have been refused one: it has no number for that, or it has ended. Only its pod is held here.
	return errors.Join(s.allWorks(ctx), w.remove(ctx))
}
