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

	"github.com/container-offload/offload/integration/lab"
)

// survey is everything that is there at one moment, on both sides.
type survey struct {
	things lab.Observation
	// amounts are what a daemon has of something, by daemon, pid and thing. A daemon that was started again has another
	// pid, and is not compared.
	amounts map[string]int
}

// slack is how much more of something a daemon may have than before.
var slack = map[string]int{"fds": 8, "threads": 16, "goroutines": 24, "MiB": 48}

// survey looks at everything.
func (s *scene) survey(ctx context.Context) (*survey, error) {
	all := &survey{things: lab.Observation{}, amounts: map[string]int{}}
	for _, env := range []*lab.Env{s.Host, s.DPU} {
		o, err := env.Observe()
		if err != nil {
			return nil, err
		}
		for line := range o {
			// The server of rexec is started when it is needed and outlives who needed it.
			if !strings.Contains(line, "/rexec serve ") && !strings.Contains(line, "/run/offload/agent/rexec") {
				all.things[env.Name()+": "+line] = true
			}
		}
		if err := s.surveyProcesses(env, all); err != nil {
			return nil, err
		}
	}
	for what, script := range map[string]string{
		"container": "docker ps -aq; for n in default moby; do ctr -n $n containers ls -q; ctr -n $n tasks ls -q; done",
		"volume":    "docker volume ls -q",
		"network":   "docker network ls --format '{{.Name}}'",
		// Those of new layers end by themselves, some time later.
		"lease":    "for n in default moby; do ctr -n $n leases ls -q | grep -v ^offload-diff-; done; true",
		"snapshot": "for n in default moby; do ctr -n $n snapshots --snapshotter offload ls | tail -n +2; done",
	} {
		out, err := s.on(ctx, s.DPU, script)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(out) {
			all.things[what+" "+strings.Join(strings.Fields(line), " ")] = true
		}
	}
	out, err := s.on(ctx, s.Host, "ls -d /run/offload/shims/*/* /run/offload/runc/*/* /var/lib/offload/snapshots/* 2>/dev/null; true")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		all.things["host: "+strings.TrimSpace(line)] = true
	}
	for what, has := range all.amounts {
		if _, ok := s.first[what]; !ok {
			s.first[what] = has
		}
	}
	return all, nil
}

// surveyProcesses counts zombies, and what each daemon of ours has.
func (s *scene) surveyProcesses(env *lab.Env, all *survey) error {
	processes, err := env.Processes()
	if err != nil {
		return err
	}
	zombies := 0
	for _, p := range processes {
		if p.Zombie {
			zombies++
			all.things[fmt.Sprintf("%s: zombie number %d", env.Name(), zombies)] = true
		}
		if len(p.Args) == 0 || (p.Args[0] != "offload-host" && p.Args[0] != "offload-dpu") {
			continue
		}
		daemon := fmt.Sprintf("%s (pid %d) ", p.Args[0], p.Inside)
		all.amounts[daemon+"fds"], all.amounts[daemon+"threads"] = p.FDs, p.Threads
		all.amounts[daemon+"MiB"] = int(p.Memory >> 20)
		if n, ok := goroutines(env); ok {
			all.amounts[daemon+"goroutines"] = n
		}
	}
	return nil
}

// goroutines asks a daemon's metrics.
func goroutines(env *lab.Env) (int, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := env.Command(ctx, "bash", "-c",
		`exec 3<>/dev/tcp/127.0.0.1/9120 && printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3 && sed -n 's/^go_goroutines //p' <&3`).Output()
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(out)))
	return n, err == nil
}

// more lists what daemons have more of than before.
func (now *survey) more(before map[string]int) []string {
	var lines []string
	for what, had := range before {
		kind := what[strings.LastIndexByte(what, ' ')+1:]
		if has, ok := now.amounts[what]; ok && has > had+slack[kind] {
			lines = append(lines, fmt.Sprintf("%s: %d, before %d", what, has, had))
		}
	}
	slices.Sort(lines)
	return lines
}

// nothingLeft waits until everything is as it was before, or fails with what is left. What daemons have of everything
// is compared only if none was disturbed: a session whose other end was killed is kept for a while.
func (s *scene) nothingLeft(ctx context.Context, before *survey, amounts bool) error {
	return s.eventually(ctx, "left behind", func(ctx context.Context) error {
		now, err := s.survey(ctx)
		if err != nil {
			return err
		}
		left := now.things.Since(before.things)
		if amounts {
			left = append(left, now.more(before.amounts)...)
		}
		if len(left) > 0 {
			return errors.New(strings.Join(left, ", "))
		}
		return nil
	})
}
