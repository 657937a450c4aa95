// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	unnoticed     = "no container stops or loses a line; all works"
	deadWhileAway = "its container is reported dead (137) and started again by its restart policy, or by hand if dockerd's one attempt finds a daemon away; the others go on; nothing is left"
	deadAlone     = "its container is reported dead (137) and started again by its restart policy; the others go on; nothing is left"
)

// processFaults happen to one process.
func processFaults() []*fault {
	const group = "One process, or one machine"
	var all []*fault
	for _, t := range []target{containerd, dockerd, offloadDPU, offloadHost} {
		all = append(all,
			&fault{
				group: group, name: "kill " + t.name, expect: unnoticed, short: true,
				inject: func(ctx context.Context, s *scene) error { return s.unnoticed(ctx, t.name == dockerd.name, killed(t)) },
			},
			&fault{
				group: group, name: "restart " + t.name, expect: unnoticed, short: true,
				inject: func(ctx context.Context, s *scene) error { return s.unnoticed(ctx, false, restarted(t)) },
			},
			&fault{
				group: group, name: "freeze " + t.name, expect: unnoticed,
				inject: func(ctx context.Context, s *scene) error { return s.unnoticed(ctx, false, frozen(t)) },
			},
		)
	}
	all = append(all, &fault{
		group: group, name: "kill " + idleHalf.name, expect: unnoticed, short: true,
		inject: func(ctx context.Context, s *scene) error { return s.unnoticed(ctx, false, killed(idleHalf)) },
	})
	for _, t := range []target{dpuHalf, hostHalf, shadow} {
		all = append(all, &fault{
			group: group, name: "kill " + t.name, expect: deadAlone, short: true,
			inject: func(ctx context.Context, s *scene) error { return s.deadAlone(ctx, false, killed(t)) },
		})
	}
	all = append(all,
		&fault{
			group: group, name: "reset the HOST", expect: deadAlone + "; so are all others of that HOST",
			inject: func(ctx context.Context, s *scene) error { return s.resetHost(ctx) },
		},
		&fault{
			group: group, name: "reset the DPU", inject: func(ctx context.Context, s *scene) error { return s.resetDPU(ctx) },
			expect: "its containers are reported dead and started again by their restart policy; nothing of the earlier ones is left on the HOST",
		},
	)
	for _, t := range []target{dpuHalf, hostHalf, shadow} {
		all = append(all, &fault{
			group: group, name: "freeze " + t.name, expect: unnoticed,
			inject: func(ctx context.Context, s *scene) error { return s.unnoticed(ctx, false, frozen(t)) },
		})
	}
	return all
}

// pairFaults happen to two processes at once.
func pairFaults() []*fault {
	const group = "Two processes at once"
	var all []*fault
	for _, pair := range [][2]target{
		{containerd, offloadDPU}, {containerd, offloadHost}, {offloadDPU, offloadHost}, {dockerd, containerd},
		{dockerd, offloadDPU}, {dockerd, offloadHost}, {shadow, offloadDPU}, {shadow, containerd},
		{dpuHalf, hostHalf}, {dpuHalf, offloadDPU}, {dpuHalf, offloadHost}, {dpuHalf, containerd},
		{hostHalf, offloadDPU}, {hostHalf, offloadHost}, {hostHalf, containerd}, {hostHalf, dockerd},
	} {
		a, b := pair[0], pair[1]
		fatal := a.fatal || b.fatal
		both := func(ctx context.Context, s *scene, victim *witness) error {
			first, second := a, b
			if s.dice.IntN(2) == 0 {
				first, second = second, first
			}
			if err := killedBoth(first, second)(ctx, s, victim); err != nil || !fatal || b.name != containerd.name {
				return err
			}
			// containerd told of the end before dockerd listened to it again, and dockerd does not ask.
			return restarted(dockerd)(ctx, s, victim)
		}
		f := &fault{group: group, name: "kill " + pair[0].name + " and " + pair[1].name, expect: unnoticed}
		f.inject = func(ctx context.Context, s *scene) error {
			return s.unnoticed(ctx, pair[0].name == dockerd.name, both)
		}
		if pair[0].fatal || pair[1].fatal {
			f.expect = deadAlone
			if pair[0].daemon != nil || pair[1].daemon != nil {
				f.expect = deadWhileAway
			}
			if pair[1].name == containerd.name {
				f.expect += "; dockerd learns of it when it is restarted, as on one machine"
			}
			f.inject = func(ctx context.Context, s *scene) error { return s.deadAlone(ctx, f.expect != deadAlone, both) }
		}
		all = append(all, f)
	}
	return all
}

// disturbance is what a fault does, until it is undone. It may be aimed at one witness.
type disturbance func(ctx context.Context, s *scene, victim *witness) error

// killed kills and, after a while as its unit would let pass, starts again.
func killed(t target) disturbance {
	return func(ctx context.Context, s *scene, victim *witness) error {
		if err := pause(ctx, s.draw("kill "+t.name+" after", 0, time.Second)); err != nil {
			return err
		}
		if err := t.kill(ctx, s, victim); err != nil {
			return err
		}
		return s.startAgain(ctx, t)
	}
}

// startAgain starts daemons again, after at most twice what their units wait, and in the order that their units have.
func (s *scene) startAgain(ctx context.Context, targets ...target) error {
	order := []string{offloadHost.name, offloadDPU.name, containerd.name, dockerd.name}
	slices.SortStableFunc(targets, func(a, b target) int { return slices.Index(order, a.name) - slices.Index(order, b.name) })
	for _, t := range targets {
		if t.again == nil {
			continue
		}
		if err := pause(ctx, s.draw("start "+t.name+" again after", 0, 2*time.Second)); err != nil {
			return err
		}
		if err := t.again(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// killedBoth kills one a moment after the other.
func killedBoth(a, b target) disturbance {
	return func(ctx context.Context, s *scene, victim *witness) error {
		// What is to be killed second may not be found any more once the first is gone.
		pids, err := b.find(ctx, s, victim)
		if err != nil {
			return err
		}
		if err := a.kill(ctx, s, victim); err != nil {
			return err
		}
		if err := pause(ctx, s.draw("kill "+b.name+" later than "+a.name+" by", 0, 300*time.Millisecond)); err != nil {
			return err
		}
		if b.daemon != nil {
			b.daemon(s).Kill()
		} else {
			for _, pid := range pids {
				if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
					return fmt.Errorf("kill %s: %w", b.name, err)
				}
			}
		}
		return s.startAgain(ctx, a, b)
	}
}

// restarted stops a daemon as an operator does.
func restarted(t target) disturbance {
	return func(ctx context.Context, s *scene, _ *witness) error {
		if err := pause(ctx, s.draw("stop "+t.name+" after", 0, time.Second)); err != nil {
			return err
		}
		if err := t.stop(ctx, s); err != nil {
			return err
		}
		return s.startAgain(ctx, t)
	}
}

// frozen stops a process for longer than a connection may be silent.
func frozen(t target) disturbance {
	return func(ctx context.Context, s *scene, victim *witness) error {
		pids, err := t.find(ctx, s, victim)
		if err != nil {
			return err
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
				return fmt.Errorf("freeze %s: %w", t.name, err)
			}
		}
		err = pause(ctx, s.draw("freeze "+t.name+" for", 14*time.Second, 30*time.Second))
		for _, pid := range pids {
			err = errors.Join(err, unix.Kill(pid, unix.SIGCONT))
		}
		return err
	}
}

// unnoticed holds that a disturbance costs the witnesses time and nothing else. Where dockerd is killed, it may lose
// what it had read and not written yet, as on one machine.
func (s *scene) unnoticed(ctx context.Context, mayLose bool, disturb disturbance) (err error) {
	byDocker, err := s.dockerWitness(ctx)
	if err != nil {
		return err
	}
	byCtr, err := s.ctrWitness(ctx)
	if err != nil {
		return errors.Join(err, byDocker.remove(ctx))
	}
	if err := disturb(ctx, s, byDocker); err != nil {
		return err
	}
	s.over()
	for _, w := range []*witness{byDocker, byCtr} {
		if err := w.goesOn(ctx); err != nil {
			return err
		}
	}
	if err := s.allWorks(ctx); err != nil {
		return err
	}
	if err := byDocker.ends(ctx, mayLose); err != nil {
		return err
	}
	return byCtr.ends(ctx, false)
}

// allWorks holds that new containers can be had, and files of theirs.
func (s *scene) allWorks(ctx context.Context) error {
	name := s.name("new")
	err := s.eventually(ctx, "a new container runs", func(ctx context.Context) error {
		_, err := s.on(ctx, s.DPU, fmt.Sprintf("docker run --name %[1]s %[2]s sh -c 'echo written >/file' && docker cp -q %[1]s:/file - | grep -q written; "+
			"status=$?; docker rm -f %[1]s >/dev/null 2>&1; exit $status", name, s.Image("busybox")))
		return err
	})
	s.works = time.Now()
	if err != nil {
		return err
	}
	_, err = s.dpu(ctx, s.CtrRun("--rm", s.Image("busybox"), s.name("new"), "true")...)
	return err
}

// deadAlone holds that what one pod can't survive ends that pod only, that this is told and cleaned up, and that
// restart policies work. dockerd makes one attempt to start a container again: if a daemon may be away just then, the
// container may be found exited, and is started by hand.
func (s *scene) deadAlone(ctx context.Context, mayStay bool, disturb disturbance) error {
	victim, err := s.dockerWitness(ctx, "--restart", "always")
	if err != nil {
		return err
	}
	other, err := s.dockerWitness(ctx)
	if err != nil {
		return errors.Join(err, victim.remove(ctx))
	}
	if err := disturb(ctx, s, victim); err != nil {
		return err
	}
	s.over()
	err = s.eventually(ctx, "it is started again", func(ctx context.Context) error {
		if mayStay {
			if err := victim.startIfExited(ctx); err != nil {
				return err
			}
		}
		return victim.identityChanged(ctx)
	})
	if err != nil {
		return err
	}
	if victim.born, err = victim.identity(ctx); err != nil {
		return err
	}
	if err := victim.goesOn(ctx); err != nil {
		return err
	}
	if err := other.goesOn(ctx); err != nil {
		return err
	}
	if err := s.allWorks(ctx); err != nil {
		return err
	}
	if err := s.diedOnce(ctx, victim); err != nil {
		return err
	}
	if err := victim.remove(ctx); err != nil {
		return err
	}
	return other.ends(ctx, false)
}

// diedOnce holds that dockerd has told of the end, and with which status.
func (s *scene) diedOnce(ctx context.Context, w *witness) error {
	out, err := s.dpu(ctx, "docker", "events", "--since", "10m", "--until", "0s", "--filter", "container="+w.name,
		"--filter", "event=die", "--format", "{{index .Actor.Attributes \"exitCode\"}}")
	if err != nil {
		return err
	}
	// A dockerd that was started anew has no memory of it.
	if out != "137" && out != "" {
		return fmt.Errorf("%s died with status %q, not 137 once", w.name, out)
	}
	return nil
}

// startIfExited starts a witness by hand that its restart policy could not start.
func (w *witness) startIfExited(ctx context.Context) error {
	state, err := w.s.dpu(ctx, "docker", "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}", w.name)
	if err != nil || !strings.HasPrefix(state, "exited ") {
		return err
	}
	if !strings.HasPrefix(state, "exited 137") {
		return fmt.Errorf("%s is %q, not exited 137", w.name, state)
	}
	_, err = w.s.dpu(ctx, "docker", "start", w.name)
	if err == nil {
		w.s.note("started by hand")
	}
	return err
}
