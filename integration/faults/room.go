// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/integration/lab"
)

const refusedForNow = "what finds no room fails and says why; running containers go on; nothing half-made stays; all works when there is room again"

// noRoom is what an error says that is about room.
const noRoom = "no space left on device"

// roomFaults happen to what there is only so much of.
func roomFaults() []*fault {
	const group = "No room"
	var all []*fault
	for _, c := range []struct {
		name, dir string
		env       func(s *scene) *lab.Env
		inodes    bool
		says      string
		mayLose   bool
	}{
		{"the HOST's disk is full", "/var/lib/offload", (*scene).host, false, "", false},
		{"the HOST's inodes are used up", "/var/lib/offload", (*scene).host, true, noRoom, false},
		{"containerd's disk is full", "/var/lib/containerd", (*scene).dpuEnv, false, noRoom, false},
		{"containerd's inodes are used up", "/var/lib/containerd", (*scene).dpuEnv, true, noRoom, false},
		{"dockerd's disk is full", "/var/lib/docker", (*scene).dpuEnv, false, noRoom, true},
	} {
		all = append(all, &fault{
			group: group, name: c.name, expect: refusedForNow, in: narrow,
			inject: func(ctx context.Context, s *scene) error {
				return s.full(ctx, c.env(s), c.dir, c.inodes, c.says, c.mayLose)
			},
		})
	}
	for _, t := range []target{offloadHost, offloadDPU, hostHalf, dpuHalf} {
		all = append(all, &fault{
			group: group, name: "no descriptors for " + t.name, expect: refusedForNow,
			inject: func(ctx context.Context, s *scene) error { return s.unnoticed(ctx, false, fewDescriptors(t)) },
		})
	}
	return all
}

func (s *scene) host() *lab.Env   { return s.Host }
func (s *scene) dpuEnv() *lab.Env { return s.DPU }

// full fills a file system while containers run and others are asked for.
func (s *scene) full(ctx context.Context, env *lab.Env, dir string, inodes bool, says string, mayLose bool) error {
	leases, err := s.leases(ctx)
	if err != nil {
		return err
	}
	err = s.unnoticed(ctx, mayLose, func(ctx context.Context, s *scene, _ *witness) error {
		if err := fill(ctx, s, env, dir, inodes); err != nil {
			return err
		}
		refused := s.refused(ctx, says)
		_, err := s.on(ctx, env, "rm -rf "+dir+"/fill")
		return errors.Join(refused, err)
	})
	return errors.Join(err, s.dropLeases(ctx, leases))
}

// fill uses up a file system's blocks or inodes.
func fill(ctx context.Context, s *scene, env *lab.Env, dir string, inodes bool) error {
	script := "mkdir " + dir + "/fill && cat /dev/zero >" + dir + "/fill/all"
	if inodes {
		script = "mkdir " + dir + "/fill && cd " + dir + "/fill && i=0 && while : >$i; do i=$((i+1)); done"
	}
	var f *failure
	if _, err := s.on(ctx, env, script); !errors.As(err, &f) || !strings.Contains(strings.ToLower(f.text), noRoom) {
		return fmt.Errorf("fill %s of the %s: %w", dir, env.Name(), err)
	}
	return nil
}

// refused asks for what needs room. Each has to work or to fail with a reason, and one of them, if says is not empty,
// with that one.
func (s *scene) refused(ctx context.Context, says string) error {
	name := s.name("refused")
	said := false
	for _, argv := range [][]string{
		{"docker", "pull", "-q", s.Image("layers")},
		{"docker", "run", "--name", name, s.Image("busybox"), "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=100 2>&1"},
	} {
		_, err := s.dpu(ctx, argv...)
		var f *failure
		switch {
		case err == nil:
			s.tell("  %s: works", strings.Join(argv[:2], " "))
			continue
		case !errors.As(err, &f):
			return err
		case strings.TrimSpace(f.text) == "":
			return fmt.Errorf("it fails without a reason: %w", err)
		}
		s.tell("  %s: %s", strings.Join(argv[:2], " "), cell(f.text))
		said = said || strings.Contains(strings.ToLower(f.text), noRoom)
	}
	if says != "" && !said {
		return fmt.Errorf("nobody says %q", says)
	}
	_, err := s.on(ctx, s.DPU, "docker rm -f "+name+" >/dev/null 2>&1; docker image rm -f "+s.Image("layers")+" >/dev/null 2>&1; true")
	return err
}

// leases lists dockerd's leases.
func (s *scene) leases(ctx context.Context) (map[string]bool, error) {
	out, err := s.dpu(ctx, "ctr", "-n", "moby", "leases", "ls", "-q")
	all := map[string]bool{}
	for _, id := range strings.Fields(out) {
		all[id] = true
	}
	return all, err
}

// dropLeases removes those that were not there before: dockerd keeps the lease of a container, and what it holds,
// whose snapshot it could not make, on one machine as on two.
func (s *scene) dropLeases(ctx context.Context, before map[string]bool) error {
	now, err := s.leases(ctx)
	if err != nil {
		return err
	}
	for id := range now {
		if before[id] {
			continue
		}
		if _, err := s.dpu(ctx, "ctr", "-n", "moby", "leases", "rm", "--sync", id); err != nil {
			return err
		}
	}
	return nil
}

// fewDescriptors lets a process open hardly any more files than it has, and asks for things.
func fewDescriptors(t target) disturbance {
	return func(ctx context.Context, s *scene, victim *witness) (err error) {
		pids, err := t.find(ctx, s, victim)
		if err != nil {
			return err
		}
		leases, err := s.leases(ctx)
		if err != nil {
			return err
		}
		for _, pid := range pids {
			restore, limitErr := limitDescriptors(pid, limitFor(pid, s.dice.IntN(4)))
			if limitErr != nil {
				return limitErr
			}
			defer func() { err = errors.Join(err, restore()) }()
		}
		// The DPU half opens the files that its container asks for.
		victim.refused = t.name == dpuHalf.name
		name := s.name("refused")
		for _, argv := range [][]string{
			{"docker", "run", "--name", name, s.Image("busybox"), "true"},
			{"docker", "exec", victim.name, "true"},
		} {
			_, err := s.dpu(ctx, argv...)
			var f *failure
			if err != nil && (!errors.As(err, &f) || strings.TrimSpace(f.text) == "") {
				return fmt.Errorf("it fails without a reason: %w", err)
			}
			if f != nil {
				s.tell("  %s: %s", strings.Join(argv[:2], " "), cell(f.text))
			}
		}
		if _, err := s.on(ctx, s.DPU, "docker rm -f "+name+" >/dev/null 2>&1; true"); err != nil {
			return err
		}
		return s.dropLeases(ctx, leases)
	}
}

// limitFor is the limit that lets a process open so many more files than it has. Descriptors are the lowest numbers
// that are free, and the limit is on the number.
func limitFor(pid, more int) int {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	used := map[int]bool{}
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			used[n] = true
		}
	}
	limit := 0
	for ; used[limit] || more > 0; limit++ {
		if !used[limit] {
			more--
		}
	}
	return limit
}

// limitDescriptors lets a process have so many descriptors. Only the soft limit changes: a program that it starts sets
// its own back.
func limitDescriptors(pid, most int) (restore func() error, err error) {
	var old unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		return nil, fmt.Errorf("limit descriptors: %w", err)
	}
	few := unix.Rlimit{Cur: uint64(most), Max: old.Max}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &few, nil); err != nil {
		return nil, fmt.Errorf("limit descriptors: %w", err)
	}
	return func() error {
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("limit descriptors no more: %w", err)
		}
		return nil
	}, nil
}
