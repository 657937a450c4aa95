// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/integration/lab"
)

// target is a kind of process that faults happen to.
type target struct {
	name string
	// find finds its pids on the machine, among them those that serve the victim.
	find func(ctx context.Context, s *scene, victim *witness) ([]int, error)
	// again starts it again as its unit does; nil for what is no daemon.
	again func(ctx context.Context, s *scene) error
	// daemon is the daemon.
	daemon func(s *scene) *lab.Process
	// fatal tells that the victim ends with it.
	fatal bool
}

// daemonTarget is a daemon with a unit.
func daemonTarget(name string, process func(s *scene) *lab.Process, again func(s *scene) func(context.Context) error) target {
	return target{
		name: name, daemon: process,
		find: func(_ context.Context, s *scene, _ *witness) ([]int, error) { return []int{process(s).Pid()}, nil },
		again: func(ctx context.Context, s *scene) error {
			return again(s)(ctx)
		},
	}
}

var (
	containerd = daemonTarget("containerd", func(s *scene) *lab.Process { return s.Containerd },
		func(s *scene) func(context.Context) error { return s.StartContainerd })
	dockerd = daemonTarget("dockerd", func(s *scene) *lab.Process { return s.Dockerd },
		func(s *scene) func(context.Context) error { return s.StartDockerd })
	offloadDPU = daemonTarget("offload-dpu", func(s *scene) *lab.Process { return s.Daemon },
		func(s *scene) func(context.Context) error { return s.StartDaemon })
	offloadHost = daemonTarget("offload-host", func(s *scene) *lab.Process { return s.Agent },
		func(s *scene) func(context.Context) error { return s.StartAgent })

	dpuHalf  = target{name: "the DPU half", find: findDPUHalf, fatal: true}
	hostHalf = target{name: "the HOST half", find: findHostHalf, fatal: true}
	// What kills a task's pid on the DPU kills the task.
	shadow   = target{name: "the shadow", find: findShadow, fatal: true}
	idleHalf = target{name: "the idle HOST half", find: findIdleHalf}
)

// containerID is the id that containerd knows a witness by.
func containerID(ctx context.Context, s *scene, w *witness) (ns, id string, err error) {
	if w.ctr {
		return "default", w.name, nil
	}
	id, err = s.dpu(ctx, "docker", "inspect", "-f", "{{.Id}}", w.name)
	return "moby", id, err
}

// findBy finds the processes of an environment that match.
func findBy(env *lab.Env, what string, match func(lab.ProcessInfo) bool) ([]int, error) {
	all, err := env.Processes()
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, p := range all {
		if match(p) {
			pids = append(pids, p.Pid)
		}
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("find %s: there is none", what)
	}
	return pids, nil
}

func findDPUHalf(ctx context.Context, s *scene, w *witness) ([]int, error) {
	ns, id, err := containerID(ctx, s, w)
	if err != nil {
		return nil, err
	}
	return findBy(s.DPU, "the DPU half of "+w.name, func(p lab.ProcessInfo) bool {
		return len(p.Args) > 4 && strings.HasSuffix(p.Args[0], "containerd-shim-offload-v1") &&
			slices.Equal(p.Args[1:5], []string{"-namespace", ns, "-id", id})
	})
}

func findHostHalf(ctx context.Context, s *scene, w *witness) ([]int, error) {
	ns, id, err := containerID(ctx, s, w)
	if err != nil {
		return nil, err
	}
	text, err := s.Host.ReadFile("/run/offload/shims/" + ns + "/" + id + "/half.pid")
	if err != nil {
		return nil, fmt.Errorf("find the HOST half of %s: %w", w.name, err)
	}
	inside, err := strconv.Atoi(string(text))
	if err != nil {
		return nil, fmt.Errorf("find the HOST half of %s: %w", w.name, err)
	}
	return findBy(s.Host, "the HOST half of "+w.name, func(p lab.ProcessInfo) bool { return p.Inside == inside })
}

func findShadow(ctx context.Context, s *scene, w *witness) ([]int, error) {
	ns, id, err := containerID(ctx, s, w)
	if err != nil {
		return nil, err
	}
	return findBy(s.DPU, "the shadow of "+w.name, func(p lab.ProcessInfo) bool {
		return len(p.Args) > 0 && p.Args[0] == "offload-shadow "+ns+"/"+id
	})
}

func findIdleHalf(ctx context.Context, s *scene, _ *witness) ([]int, error) {
	out, err := s.on(ctx, s.Host, "cat /run/offload/shims/*/*/half.pid 2>/dev/null | tr '\\n' ' '; for f in /run/offload/shims/*/*/half.pid; do echo; cat $f; done 2>/dev/null; true")
	if err != nil {
		return nil, err
	}
	busy := strings.Fields(out)
	return findBy(s.Host, "an idle HOST half", func(p lab.ProcessInfo) bool {
		return len(p.Args) > 0 && strings.HasSuffix(p.Args[0], "containerd-shim-offload-host") &&
			!slices.Contains(busy, strconv.Itoa(p.Inside))
	})
}

// signal sends it a signal.
func (t target) signal(ctx context.Context, s *scene, victim *witness, signal unix.Signal) error {
	pids, err := t.find(ctx, s, victim)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("signal %s (%d): %w", t.name, pid, err)
		}
	}
	return nil
}

// kill kills it.
func (t target) kill(ctx context.Context, s *scene, victim *witness) error {
	if t.daemon != nil {
		t.daemon(s).Kill()
		return nil
	}
	return t.signal(ctx, s, victim, unix.SIGKILL)
}

// stop has it end in its own way.
func (t target) stop(ctx context.Context, s *scene) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return t.daemon(s).Stop(ctx)
}
