// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/container-offload/offload/integration/lab"
)

// soak is a lab in which containers come and go while faults happen, for long.
type soak struct {
	*scene
	// fault is odd while there is a fault; what fails meanwhile is not held against the system.
	fault atomic.Int64
	// done and excused count what was done, and what failed during a fault, by name.
	mu            sync.Mutex
	done, excused map[string]int
	errs          []error
}

// usage is what the programs of both sides have at one moment, by program and thing.
type usage map[string]int

// Soak has containers run, stop, be entered, be copied to and from, and be read, for a time. In the first half daemons are
// killed too; in the second half, in which each lives through it all, only what serves single containers is killed and the
// link is cut. Afterwards everything is compared with the beginning, and the daemons with the middle. The table that it
// writes has what there was at each of the three moments.
func Soak(ctx context.Context, o Options, d time.Duration, table io.Writer) (err error) {
	s := &soak{scene: &scene{options: o}, done: map[string]int{}, excused: map[string]int{}}
	if err := s.enter(ctx, plain); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.leave()) }()
	s.dice = dice(o.Seed, "soak", 1)
	s.tell("seed %d: soak for %s", o.Seed, d)
	var moments []usage
	before, err := s.moment(ctx, &moments)
	if err != nil {
		return err
	}
	worked := s.phase(ctx, d/2, s.withDaemons())
	// What a lost session keeps is kept for as long as it may come back.
	if err := pause(ctx, patienceOf(plain)); err != nil {
		return err
	}
	middle, err := s.moment(ctx, &moments)
	if err != nil {
		return err
	}
	worked = errors.Join(worked, s.phase(ctx, d/2, s.withoutDaemons()))
	err = eventually(ctx, patienceOf(plain)+settling, "left behind", func(ctx context.Context) error {
		now, err := s.survey(ctx)
		if err != nil {
			return err
		}
		if left := append(now.things.Since(before.things), now.more(middle.amounts)...); len(left) > 0 {
			return errors.New(strings.Join(left, ", "))
		}
		return nil
	})
	_, lastErr := s.moment(ctx, &moments)
	return errors.Join(worked, err, lastErr, s.print(table, moments))
}

// moment looks at everything, and keeps what the programs have.
func (s *soak) moment(ctx context.Context, moments *[]usage) (*survey, error) {
	var all *survey
	err := s.eventually(ctx, "look at everything", func(ctx context.Context) (err error) {
		all, err = s.survey(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	u := usage{}
	for _, env := range []*lab.Env{s.Host, s.DPU} {
		processes, err := env.Processes()
		if err != nil {
			return nil, err
		}
		for _, p := range processes {
			if len(p.Args) == 0 || p.Zombie {
				continue
			}
			name := env.Name() + " " + programOf(p.Args[0]) + " "
			u[name+"processes"]++
			u[name+"descriptors"] += p.FDs
			u[name+"threads"] += p.Threads
			u[name+"MiB"] += int(p.Memory >> 20)
		}
		if n, ok := goroutines(env); ok {
			u[env.Name()+" daemon goroutines"] = n
		}
		for _, c := range []struct{ what, script string }{
			{"mounts", "wc -l </proc/self/mounts"},
			{"network namespaces", "lsns -t net -n 2>/dev/null | wc -l"},
			{"cgroups", "find /sys/fs/cgroup -type d | wc -l"},
		} {
			out, err := s.on(ctx, env, c.script)
			if err != nil {
				return nil, err
			}
			n := 0
			if _, err := fmt.Sscan(out, &n); err != nil {
				return nil, fmt.Errorf("count %s: %q: %w", c.what, out, err)
			}
			u[env.Name()+" all "+c.what] = n
		}
	}
	*moments = append(*moments, u)
	return all, nil
}

func programOf(arg string) string {
	name, _, _ := strings.Cut(arg[strings.LastIndexByte(arg, '/')+1:], " ")
	return name
}

// withDaemons are the faults of the first half.
func (s *soak) withDaemons() []func(ctx context.Context) error {
	all := s.withoutDaemons()
	for _, t := range []target{offloadDPU, offloadHost} {
		all = append(all,
			func(ctx context.Context) error { return s.unnoticed(ctx, false, killed(t)) },
			func(ctx context.Context) error { return s.unnoticed(ctx, false, restarted(t)) },
		)
	}
	return all
}

// withoutDaemons are the faults of the second half.
func (s *soak) withoutDaemons() []func(ctx context.Context) error {
	all := []func(ctx context.Context) error{
		func(ctx context.Context) error { return s.unnoticed(ctx, false, killed(idleHalf)) },
		func(ctx context.Context) error {
			return s.unnoticed(ctx, false, func(ctx context.Context, s *scene, _ *witness) error {
				s.Cable.Set(lab.Flaws{Cut: true}, lab.Flaws{Cut: true})
				err := pause(ctx, s.draw("cut for", time.Second, 10*time.Second))
				s.Cable.Set(lab.Flaws{}, lab.Flaws{})
				return err
			})
		},
	}
	for _, t := range []target{dpuHalf, hostHalf, shadow} {
		all = append(all, func(ctx context.Context) error { return s.deadAlone(ctx, false, killed(t)) })
	}
	return all
}

// phase works and breaks things for a time.
func (s *soak) phase(ctx context.Context, d time.Duration, faults []func(ctx context.Context) error) error {
	until := time.Now().Add(d)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var workers sync.WaitGroup
	for n := range workersAtOnce {
		seed := s.dice.Uint64()
		workers.Go(func() {
			chance := rand.New(rand.NewPCG(seed, 0))
			for i := 0; time.Now().Before(until) && ctx.Err() == nil; i++ {
				s.work(ctx, fmt.Sprintf("soak-%d-%d-%d", n, i, seed%1000), chance)
			}
		})
	}
	var err error
	for err == nil && time.Now().Before(until) {
		s.fault.Add(1)
		err = faults[s.dice.IntN(len(faults))](ctx)
		s.fault.Add(1)
		if err == nil {
			err = pause(ctx, s.draw("calm for", 5*time.Second, 20*time.Second))
		}
	}
	if err != nil {
		cancel()
	}
	workers.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	err = errors.Join(append([]error{err}, s.errs...)...)
	s.errs = nil
	return err
}

// work has one container live, and removes it.
func (s *soak) work(ctx context.Context, name string, chance *rand.Rand) {
	kinds := []struct{ name, script string }{
		{"run", "test \"$(docker run --rm --name $n $i echo ran)\" = ran"},
		{"exec", "docker run -d --name $n $i sleep 1000 >/dev/null && for k in 1 2 3 4 5; do test \"$(docker exec $n echo $k)\" = $k || exit 1; done"},
		{"copy", "docker run -d --name $n $i sleep 1000 >/dev/null && f=$(readlink -f /bin/sh); docker cp -q $f $n:/copied && docker cp -q $n:/copied - | tar -xO | cmp - $f"},
		{"logs", "docker run --name $n $i seq 10000 >/dev/null && test $(docker logs $n | wc -l) = 10000"},
		{"stop", "docker run -d --name $n $i sh -c 'trap \"exit 3\" TERM; echo up; while :; do sleep 0.1; done' >/dev/null && until docker logs $n | grep -q up; do sleep 0.1; done && docker stop $n >/dev/null && test $(docker wait $n) = 3"},
		{"limits", "docker run --rm --name $n -m 32m --pids-limit 20 $i sh -c 'cat /proc/self/cgroup' >/dev/null"},
	}
	kind := kinds[chance.IntN(len(kinds))]
	fault := s.fault.Load()
	_, err := s.on(ctx, s.DPU, "n="+name+" i="+s.Image("busybox")+"; "+kind.script)
	calm := fault%2 == 0 && fault == s.fault.Load()
	rmErr := eventually(ctx, 3*settling, "remove "+name, func(ctx context.Context) error {
		_, err := s.on(ctx, s.DPU, "docker rm -f -v "+name+" 2>&1 | grep -v 'No such container'; ! docker inspect "+name+" >/dev/null 2>&1")
		return err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case ctx.Err() != nil:
	case err == nil:
		s.done[kind.name]++
	case calm:
		s.errs = append(s.errs, fmt.Errorf("%s without a fault: %w", kind.name, err))
		s.tell("NOT AS EXPECTED: %v", s.errs[len(s.errs)-1])
	default:
		s.excused[kind.name]++
	}
	if rmErr != nil && ctx.Err() == nil {
		s.errs = append(s.errs, rmErr)
	}
}

// print writes what was done, and what there was at each moment.
func (s *soak) print(out io.Writer, moments []usage) error {
	var b strings.Builder
	names := func(m map[string]int) (all []string) {
		for name := range m {
			all = append(all, name)
		}
		slices.Sort(all)
		return all
	}
	for _, name := range names(s.done) {
		fmt.Fprintf(&b, "%s: %d done, %d failed during a fault\n", name, s.done[name], s.excused[name])
	}
	fmt.Fprintf(&b, "%d faults\n\n| | beginning | middle | end |\n|---|---|---|---|\n", s.fault.Load()/2)
	all := map[string]int{}
	for _, u := range moments {
		for name := range u {
			all[name]++
		}
	}
	for _, name := range names(all) {
		fmt.Fprintf(&b, "| %s |", name)
		for _, u := range moments {
			fmt.Fprintf(&b, " %d |", u[name])
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}
